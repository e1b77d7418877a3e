#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <headway/core/tensor.h>
#include <headway/io/stored_tensor.h>

/// Weights in the layout of Hugging Face: model.safetensors, or shards with model.safetensors.index.json.
namespace headway::inline v1::io {

/// Maps a safetensors file. The header is checked as load_safetensors checks it; every type of the format is
/// listed, whether it can be read or not. No byte of a tensor is read.
HEADWAY_API StoredTensors open_safetensors(const std::filesystem::path& path);

/// The weights of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists (a
/// folder with both has the single file read, as transformers does). Error(format) names a shard that is
/// missing, a name that its shard lacks, that stands in a shard without being listed, or in two, and a shard
/// outside the folder. Where there is only a pickle, Error(unsupported) gives the lines of Python that
/// convert it.
HEADWAY_API StoredTensors open_model_files(const std::filesystem::path& folder);

/// A tensor and the floating type it is written in; others are written as they are. What was read from a file
/// as float32 and not changed gets its original bits back in the original type.
struct OutputTensor {
  std::string name;
  Tensor tensor;
  DType dtype = DType::float32;
};

struct ModelFilesOptions {
  std::uint64_t shard_bytes = 5'000'000'000;  ///< a larger tensor has a shard to itself
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

/// Writes model.safetensors, or model-00001-of-0000N.safetensors and their index, cut as transformers does:
/// in the order given. Each file is written atomically, the index last. Error(value) for a name given twice,
/// with a NUL or reserved, Error(dtype) for an integer type other than the tensor's own.
HEADWAY_API void save_model_files(const std::filesystem::path& folder,
                                  const std::vector<OutputTensor>& tensors,
                                  const ModelFilesOptions& options = {});

/// Where a model lies, from what a user types: a folder; a .gguf file; a .safetensors file, which stands for
/// its folder; or ORG/NAME or ORG/NAME@REVISION, a model of the Hub in the local cache (HF_HUB_CACHE, else
/// HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub). What exists as a path is
/// a path. Nothing is downloaded: Error(io) says which command does that.
HEADWAY_API std::filesystem::path resolve_model(const std::string& spec);

}  // namespace headway::inline v1::io
