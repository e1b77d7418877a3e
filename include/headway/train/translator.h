#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <headway/models/transformer.h>
#include <headway/text/translation.h>
#include <headway/train/translation_config.h>

namespace headway::inline v1::train {

using text::Translation;

/// A trained model and its tokenizer: text in, text out.
class HEADWAY_API Translator {
 public:
  /// A run's folder (its best checkpoint, else its latest) or one checkpoint. Error(io) or Error(format) for
  /// what is missing or damaged.
  static Translator load(const std::filesystem::path& run_or_checkpoint);
  Translator(TranslationConfig config, text::Tokenizer tokenizer, std::unique_ptr<models::Transformer> model);

  /// The best translation of each sentence, in order. A sentence without text gives an empty translation.
  std::vector<std::string> translate(const std::vector<std::string>& sentences) const {
    return translate(sentences, config_.decoding);
  }
  std::vector<std::string> translate(const std::vector<std::string>& sentences,
                                     const models::DecodingOptions& options) const;

  /// Ids as the encoder reads them: the pieces and an end mark. Error(value) when there are more than
  /// max_length, Error(format) for what is not UTF-8 or has a NUL; both begin with `where`: "a.txt, line 3,".
  std::vector<std::int32_t> source_ids(const std::string& sentence,
                                       std::string_view where = "the sentence") const;
  /// Of each sentence, given as source_ids(), its translations, best first: options.num_hypotheses of them,
  /// but of a sentence without text one, which is empty.
  std::vector<std::vector<Translation>> translations(std::vector<std::vector<std::int32_t>> sources,
                                                     const models::DecodingOptions& options) const;

  const TranslationConfig& config() const { return config_; }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  models::Transformer& model() const { return *model_; }

 private:
  TranslationConfig config_;
  text::Tokenizer tokenizer_;
  std::unique_ptr<models::Transformer> model_;
};

/// The ids of a source sentence, for training and translation alike.
HEADWAY_API std::vector<std::int32_t> encode_source(const text::Tokenizer& tokenizer,
                                                    const std::string& sentence);

}  // namespace headway::inline v1::train
