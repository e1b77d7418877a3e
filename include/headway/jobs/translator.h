#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <headway/hub/model.h>
#include <headway/models/decoding.h>
#include <headway/text/translation.h>

namespace headway::inline v1::jobs {

/// A published encoder–decoder (Marian, T5) with its tokenizers: sentences in, translations out.
class HEADWAY_API Translator {
 public:
  /// `spec` as hub::HubModel::load takes it. `task` is one of tasks(): its prefix is put before every
  /// sentence and its beam size, length penalty and length are the defaults ("translation_en_to_de" of T5).
  /// "" is right for a model without tasks of translation. Error(unsupported) for a model that is no
  /// encoder–decoder, or whose texts must begin with a token of their own; Error(value) for a task that the
  /// model does not have.
  explicit Translator(const std::string& spec, std::string_view task = "",
                      const hub::LoadOptions& options = {});
  ~Translator();
  Translator(Translator&&) noexcept;
  Translator& operator=(Translator&&) noexcept;

  /// The entries of task_specific_params in the model's configuration, by name.
  static std::vector<std::string> tasks(const hub::HubModel& model);

  /// The best translation of each sentence, in order. A sentence without text gives an empty translation.
  std::vector<std::string> translate(const std::vector<std::string>& sentences) const;
  /// Beams, lengths, start and end tokens as the model's files say; beam search of 4 where they do not.
  const models::DecodingOptions& defaults() const;
  /// Ids as the encoder reads them, the task's prefix among them; none for a sentence without text.
  /// Error(value) when there are more than the model takes, Error(format) for what is not UTF-8; both begin
  /// with `where`: "a.txt, line 3,".
  std::vector<std::int32_t> source_ids(const std::string& sentence,
                                       std::string_view where = "the sentence") const;
  /// Of each sentence, given as source_ids(), its translations, best first: options.num_hypotheses of them,
  /// but of a sentence without text one, which is empty.
  std::vector<std::vector<text::Translation>> translations(
      const std::vector<std::vector<std::int32_t>>& sources, const models::DecodingOptions& options) const;
  const hub::HubModel& model() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headway::inline v1::jobs
