#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/train/batches.h>
#include <headway/train/task.h>
#include <headway/train/translation.h>

namespace headway::inline v1::train {

/// Translation as a task: pairs in batches, the smoothed loss of the target tokens, BLEU of greedy
/// translations.
class TranslationTask final : public Task {
 public:
  using Note = std::function<void(const std::string& line)>;
  /// The configuration holds the vocabularies' sizes. `note` is told what is left out, and how much there is.
  TranslationTask(const TranslationConfig& config, const text::Tokenizer& tokenizer,
                  const TranslationData& data, const Note& note);

  std::vector<nn::NamedParameter> parameters() const override { return translator_.model().parameters(); }
  DrawnBatch next() override;
  BatchPosition position() const override { return batches_.position(); }
  void seek(const BatchPosition& position) override { batches_.seek(position); }
  Generator* generator() override { return &generator_; }
  std::optional<Evaluation> evaluate(std::int64_t step) override;

  const Translator& translator() const { return translator_; }
  models::Transformer& model() const { return translator_.model(); }
  /// Calls `body` with the model in evaluation mode, which must not outlast it: there would be no dropout.
  template <typename Body>
  auto evaluating(Body&& body) {
    struct Training {
      TranslationTask& task;
      ~Training() { task.model().train(task.generator_); }
    } training{*this};
    model().eval();
    return body();
  }

 private:
  const TranslationConfig config_;
  Generator generator_;
  Translator translator_;
  BatchStream batches_;
  std::vector<Example> valid_;
  std::vector<std::string> valid_sources_, valid_references_;
};

}  // namespace headway::inline v1::train
