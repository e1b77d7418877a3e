#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include <headway/train/task.h>

namespace headway::inline v1::train {

/// Ids, and a label for each row of logits that a model makes of them: a class for each text, a tag or the
/// next token for each token.
struct LabelledBatch {
  Tensor ids;     ///< int32, as the model takes them
  Tensor labels;  ///< [N] int32; -1: nothing is asked there
  /// Labels that are asked for. Reads them all.
  HEADWAY_API std::int64_t asked() const;
};

struct LabelMetrics {
  double loss = 0;      ///< mean of -log p(label)
  double accuracy = 0;  ///< share of labels that are the most probable
  std::int64_t labels = 0;
};

/// ids -> logits [N, V].
using Logits = std::function<Tensor(const Tensor& ids)>;

/// What a model in evaluation mode makes of labelled batches.
HEADWAY_API LabelMetrics label_metrics(const Logits& logits, const std::vector<LabelledBatch>& batches);

/// Classification by cross-entropy: of texts, of tokens, of what comes next.
class HEADWAY_API LabelTask final : public Task {
 public:
  struct Parts {
    nn::Module* model = nullptr;
    Logits logits = {};              ///< calls the model
    Generator* generator = nullptr;  ///< of the model's dropout; null: it has none
    /// Draws a batch with the numbers of `data`, from nothing else: its seed and the number of its next call
    /// are the stream's position.
    std::function<LabelledBatch(Generator& data)> draw = {};
    std::uint64_t data_seed = 0;
    std::vector<LabelledBatch> valid = {};  ///< to evaluate on: score is the accuracy; empty: none
    double label_smoothing = 0;
  };
  /// Puts the model into training mode. Error(value) when model, logits or draw are missing.
  explicit LabelTask(Parts parts);

  std::vector<nn::NamedParameter> parameters() const override { return parts_.model->parameters(); }
  DrawnBatch next() override;
  BatchPosition position() const override {
    return {.epoch = 0, .batch = static_cast<std::int64_t>(data_.next_call())};
  }
  void seek(const BatchPosition& position) override;
  Generator* generator() override { return parts_.generator; }
  std::optional<Evaluation> evaluate(std::int64_t step) override;

 private:
  void set_training() const;
  Parts parts_;
  Generator data_;
};

}  // namespace headway::inline v1::train
