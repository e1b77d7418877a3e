#include <headway/train/translator.h>

#include <fmt/format.h>

#include <headway/io/atomic_file.h>
#include <headway/nn/serialize.h>
#include <headway/train/checkpoint.h>

namespace headway::inline v1::train {

std::vector<std::int32_t> encode_source(const text::Tokenizer& tokenizer, const std::string& sentence) {
  std::vector<std::int32_t> ids = tokenizer.encode(sentence);
  ids.push_back(text::kEos);
  return ids;
}

Translator::Translator(TranslationConfig config, text::Tokenizer tokenizer,
                       std::unique_ptr<models::Transformer> model)
    : config_(std::move(config)), tokenizer_(std::move(tokenizer)), model_(std::move(model)) {}

Translator Translator::load(const std::filesystem::path& run_or_checkpoint) {
  const std::filesystem::path folder = find_checkpoint(run_or_checkpoint);
  const auto config_path = folder / "config.json";
  TranslationConfig config = translation_config_from_json(io::read_file(config_path), config_path.string());
  text::Tokenizer tokenizer = text::Tokenizer::load(folder / "tokenizer.model");
  if (tokenizer.vocab_size() != config.model.target_vocab) {
    fail(ErrorCode::format, config_path.string(),
         fmt::format("the model has a vocabulary of {}, the tokenizer beside it {}",
                     config.model.target_vocab, tokenizer.vocab_size()));
  }
  Generator unused;  // the weights are read over what it draws
  auto model = std::make_unique<models::Transformer>(config.model, unused);
  io::load(*model, weights_in(folder));
  return Translator(std::move(config), std::move(tokenizer), std::move(model));
}

std::vector<std::int32_t> Translator::source_ids(const std::string& sentence) const {
  std::vector<std::int32_t> ids = encode_source(tokenizer_, sentence);
  if (static_cast<std::int64_t>(ids.size()) > config_.model.max_length) {
    fail(ErrorCode::value, "translate",
         fmt::format("a sentence has {} tokens (\"{}…\"); the model takes {}", ids.size(),
                     sentence.substr(0, 40), config_.model.max_length));
  }
  return ids;
}

std::vector<std::string> Translator::translate(const std::vector<std::string>& sentences,
                                               const models::DecodingOptions& options) const {
  std::vector<std::string> out(sentences.size());
  std::vector<std::vector<std::int32_t>> sources;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    std::vector<std::int32_t> ids = source_ids(sentences[i]);
    if (ids.size() == 1) continue;  // the end mark alone
    sources.push_back(std::move(ids));
    places.push_back(i);
  }
  const auto targets = models::translate(*model_, sources, options);
  for (std::size_t i = 0; i < targets.size(); ++i) out[places[i]] = tokenizer_.decode(targets[i]);
  return out;
}

}  // namespace headway::inline v1::train
