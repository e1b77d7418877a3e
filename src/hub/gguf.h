#pragma once
#include <string>
#include <vector>

#include <headway/io/gguf.h>

namespace headway::inline v1::hub {

/// A GGUF file in the terms of config.json and of the names that transformers gives its tensors.
struct GgufModel {
  std::string config;
  io::StoredTensors tensors;    ///< renamed
  bool interleaved = false;     ///< rows of queries and keys are in the order of interleaved rotary pairs
  bool added_to_norms = false;  ///< 1, which transformers adds when it computes (Gemma)
  std::vector<double> rope_factors;  ///< wavelengths are multiplied by these (llama.cpp's rope_freqs)
};

/// Error(unsupported) naming an architecture that is not known.
GgufModel describe_gguf(const io::GgufFile& file, const std::string& what);

/// GGUF's name for a model_type; Error(unsupported) where there is none.
std::string gguf_architecture(const std::string& model_type);
/// What GGUF calls a tensor that transformers calls `name`; "" where it has no name for it.
std::string gguf_name(const std::string& name, const std::string& architecture);
/// Whether the architecture's rows of queries and keys are in the order of interleaved rotary pairs.
bool gguf_interleaves(const std::string& architecture);

}  // namespace headway::inline v1::hub
