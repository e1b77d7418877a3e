#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/io/gguf.h>
#include <headway/models/encoder.h>
#include <headway/models/language_model.h>

/// Models in the files of Hugging Face and of llama.cpp: config.json with safetensors, and GGUF.
namespace headway::inline v1::hub {

struct LoadOptions {
  DType precision = DType::float32;  ///< of activations and of the packed weights: float32 or bfloat16
};

/// How a model's files say that it writes (generation_config.json, then config.json). What they do not say is
/// empty.
struct GenerationDefaults {
  std::vector<std::int32_t> end;  ///< tokens that end a text
  std::optional<std::int32_t> begin, padding, decoder_start, forced_begin;
  std::vector<std::int32_t> suppressed;  ///< never written
  std::optional<double> temperature, top_p, repetition_penalty, length_penalty;
  std::optional<std::int64_t> top_k, max_length, beams;
  bool sampling = false;
};

/// A model with what its files say of it. Weights are read when they are first needed, and packed for
/// products without a second copy.
class HEADWAY_API HubModel {
 public:
  /// `spec` is a folder, a .gguf or .safetensors file, or ORG/NAME in the local cache (io::resolve_model).
  /// The model is in evaluation mode. Error(unsupported) naming the configuration's field that asks for what
  /// is not built; Error(format) naming tensors that are missing, surplus or of another shape.
  static HubModel load(const std::string& spec, const LoadOptions& options = {});
  ~HubModel();
  HubModel(HubModel&&) noexcept;
  HubModel& operator=(HubModel&&) noexcept;

  nn::Module& module() const;
  /// Null unless the model predicts tokens, or embeds.
  models::LanguageModel* language_model() const;
  models::Encoder* encoder() const;
  /// Text encoder–decoders give their encoder's hidden states by models::LanguageModel::encode.
  const std::string& model_type() const;
  /// "BertForSequenceClassification", or empty.
  const std::string& architecture() const;
  /// config.json's text; of a GGUF file, one that says the same.
  const std::string& config() const;
  const GenerationDefaults& generation() const;
  /// The names of a classifier's classes, "LABEL_0" where the files have none.
  const std::vector<std::string>& labels() const;
  /// Fields of the configuration that were passed over: none that this version knows to change the function.
  const std::vector<std::string>& notes() const;
  /// Where it came from: the folder, or the GGUF file.
  const std::filesystem::path& path() const;
  bool is_gguf() const { return path().extension() == ".gguf"; }

  /// Writes config.json as it was read, generation_config.json, and the weights under their own names in
  /// their own types (shards above 5 GB). Weights that were not changed keep their bits. The folder must not
  /// exist yet. Error(unsupported) for a GGUF file with what config.json cannot say: rope_freqs, norms with 1
  /// added (Gemma).
  void save(const std::filesystem::path& folder) const;
  /// Writes a decoder that is built like Llama as a GGUF file, with its matrices in `encoding` (rows that
  /// Q8_0 does not divide: F16) and `tokenizer`'s keys. The file is read again before it appears.
  /// Error(unsupported) naming what GGUF cannot say: another family, a field, a tensor.
  void save_gguf(const std::filesystem::path& file, io::GgufEncoding encoding,
                 const io::GgufMetadata& tokenizer = {}) const;
  /// Every hidden state of whole sequences, as transformers lists them: what enters the first block, each
  /// block's result, the last one after the final norm (a ViT's before it). Of an encoder–decoder: the
  /// decoder's, on `targets`.
  std::vector<Tensor> hidden_states(const models::PackedBatch& batch,
                                    const models::PackedBatch& targets = {}) const;

 private:
  struct Impl;
  explicit HubModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace headway::inline v1::hub
