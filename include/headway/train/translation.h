#pragma once
#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <headway/text/corpus.h>
#include <headway/train/batches.h>
#include <headway/train/trainer.h>
#include <headway/train/translator.h>

namespace headway::inline v1::train {

/// What to train a translator on.
struct TranslationData {
  text::Pairs train, valid;
};

/// What the caller sees of it.
struct TranslationCallbacks {
  std::function<void(const std::string& line)> on_note;  ///< "vocabulary 8000, 42465 pairs, …"
  std::function<void(const StepReport&)> on_step;
  /// `translator` has the weights of this moment, and is in evaluation mode.
  std::function<void(std::int64_t step, const Evaluation&, bool best, const Translator& translator)>
      on_evaluation;
  std::function<void(const std::filesystem::path&)> on_checkpoint;
};

/// Trains a translator in a run's folder, from the start or from its newest checkpoint: tokenizer, model,
/// batches, optimizer, evaluation (BLEU of greedy translations, perplexity, token accuracy), checkpoints,
/// log.jsonl, curves.svg. Error(value) for a pair with a blank side, and when the folder holds a run of
/// another configuration or on other data, naming the first difference. The number of steps is a target that
/// may change: where the schedule depends on it (cosine, linear), it is stretched to the new length, and a
/// note says so.
HEADWAY_API TrainSummary train_translation(const TranslationConfig& config, const TranslationData& data,
                                           const std::filesystem::path& folder,
                                           const TranslationCallbacks& callbacks = {},
                                           const std::atomic<bool>* stop = nullptr);

/// Perplexity and accuracy of a model on pairs it is told the beginning of (teacher forcing).
struct TokenMetrics {
  double loss = 0;  ///< mean negative log-probability per target token; perplexity is its exponential
  double perplexity = 0;
  double accuracy = 0;
  std::int64_t tokens = 0;
};
HEADWAY_API TokenMetrics token_metrics(models::Transformer& model, const std::vector<Example>& examples,
                                       const BatchOptions& options);
HEADWAY_API std::vector<Example> encode_pairs(const text::Tokenizer& tokenizer, const text::Pairs& pairs);

}  // namespace headway::inline v1::train
