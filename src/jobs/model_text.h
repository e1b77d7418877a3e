#pragma once
#include <memory>

#include <headway/hub/model.h>
#include <headway/io/gguf.h>
#include <headway/text/hub_tokenizer.h>

namespace headway::inline v1::jobs {

/// A model with the tokenizer of its files.
struct TextModel {
  std::shared_ptr<const hub::HubModel> model;
  text::HubTokenizer tokenizer;
};
/// Error(io) or Error(format) where model or tokenizer is missing or damaged.
TextModel load_text_model(const std::string& spec, const hub::LoadOptions& options);
/// The same of a model that is loaded.
TextModel text_model(std::shared_ptr<const hub::HubModel> model);

/// The tokenizer of a model's folder or GGUF file.
text::HubTokenizer tokenizer_of(const std::filesystem::path& path);

/// A tokenizer's keys in a GGUF file.
io::GgufMetadata metadata_of(const text::GgufVocabulary& vocabulary);

/// Indices cut into batches of at most `tokens` tokens (a longer one goes alone), the longest first, so that
/// sequences of like length meet.
std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::size_t>& lengths, std::size_t tokens);

}  // namespace headway::inline v1::jobs
