#include <headway/train/translator.h>

#include <fmt/format.h>

#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>
#include <headway/nn/serialize.h>
#include <headway/train/checkpoint.h>

#include "text/utf8.h"

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

std::vector<std::int32_t> Translator::source_ids(const std::string& sentence, std::string_view where) const {
  if (text::find_invalid_utf8(sentence)) text::require_utf8(sentence, "translate", where);
  if (const std::size_t nul = sentence.find('\0'); nul != std::string::npos)
    fail(ErrorCode::format, "translate", fmt::format("{} has a NUL at position {}; want text", where, nul));
  std::vector<std::int32_t> ids = encode_source(tokenizer_, sentence);
  if (static_cast<std::int64_t>(ids.size()) > config_.model.max_length) {
    fail(ErrorCode::value, "translate",
         fmt::format("{} has {} tokens ({}); the model takes {}", where, ids.size(), quoted(sentence, 40),
                     config_.model.max_length));
  }
  return ids;
}

std::vector<std::vector<Translation>> Translator::translations(std::vector<std::vector<std::int32_t>> sources,
                                                               const models::DecodingOptions& options) const {
  for (std::vector<std::int32_t>& source : sources) {
    if (source.size() == 1) source.clear();  // the end mark alone: a model would make something up
  }
  std::vector<std::vector<Translation>> out;
  for (const auto& hypotheses : models::decode(*model_, sources, options)) {
    out.emplace_back();
    for (const models::Hypothesis& h : hypotheses)
      out.back().push_back({tokenizer_.decode(h.tokens), h.score, h.log_probability});
  }
  return out;
}

std::vector<std::string> Translator::translate(const std::vector<std::string>& sentences,
                                               const models::DecodingOptions& options) const {
  std::vector<std::vector<std::int32_t>> sources;
  for (std::size_t i = 0; i < sentences.size(); ++i)
    sources.push_back(source_ids(sentences[i], fmt::format("sentence {}", i + 1)));
  std::vector<std::string> out;
  for (auto& best_first : translations(std::move(sources), options))
    out.push_back(std::move(best_first.front().text));
  return out;
}

}  // namespace headway::inline v1::train
