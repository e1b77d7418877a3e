#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <headway/core/generator.h>
#include <headway/io/safetensors.h>
#include <headway/nn/module.h>
#include <headway/train/batch_position.h>

namespace headway::inline v1::train {

/// A batch that was drawn and not computed yet.
struct DrawnBatch {
  /// What its mean loss is a mean over: target tokens, texts, pairs. A step's loss is the mean over all that
  /// counts in its batches. 0: nothing counts, and the batch is passed over.
  double weight = 0;
  std::int64_t tokens = 0;  ///< for the speed that is shown
  /// The mean loss, one element on the tape. It holds the batch, and may be called never, or later.
  std::function<Tensor()> loss = {};
};

struct Evaluation {
  double score = 0;  ///< higher is better: BLEU, or minus the loss
  /// Written to the log: "bleu" and "validation_loss" are drawn as curves.
  std::map<std::string, double> metrics = {};
};

/// What is trained, and on what: all that a Trainer knows of translation, language models or classifiers.
class HEADWAY_API Task {
 public:
  virtual ~Task() = default;

  /// All of the model's: they make model.safetensors. Those that the optimizer does not update are frozen.
  virtual std::vector<nn::NamedParameter> parameters() const = 0;
  /// The next batch of an endless stream. What it holds is a function of the position before it; it draws
  /// nothing from generator().
  virtual DrawnBatch next() = 0;
  virtual BatchPosition position() const = 0;
  virtual void seek(const BatchPosition& position) = 0;
  /// Where the losses draw random numbers from (dropout); null: nowhere.
  virtual Generator* generator() { return nullptr; }

  /// Measures the model, in evaluation mode, and puts it back into training. The weights are the averaged
  /// ones where averaging is on; nothing is recorded on the tape. nullopt: there is nothing to measure.
  virtual std::optional<Evaluation> evaluate(std::int64_t /*step*/) { return std::nullopt; }

  /// What must be the same when a run is resumed, by name: a fingerprint of the corpus, say.
  virtual std::map<std::string, std::string> identity() const { return {}; }
  /// Tensors that are carried from step to step beside the weights, written in place on resuming: they make
  /// task.safetensors.
  virtual std::vector<io::NamedTensor> state() const { return {}; }
};

/// A task put together from parts. Stream has next(), position() and seek() as in Task, and what its next()
/// returns has tokens(), which is both weight and count. The model is in training mode.
template <typename Stream>
class StreamTask final : public Task {
 public:
  using Batch = decltype(std::declval<Stream&>().next());
  /// All of it outlives the task.
  struct Parts {
    std::vector<nn::NamedParameter> parameters = {};
    Stream* stream = nullptr;
    Generator* generator = nullptr;
    std::function<Tensor(const Batch&)> loss = {};  ///< mean over the batch's tokens(), on the tape
    std::function<Evaluation(std::int64_t step)> evaluate = {};
    std::map<std::string, std::string> identity = {};
  };
  /// Error(value) when parameters, stream or loss are missing.
  explicit StreamTask(Parts parts) : parts_(std::move(parts)) {
    if (parts_.parameters.empty() || !parts_.stream || !parts_.loss)
      fail(ErrorCode::value, "train", "a part is missing; want parameters, stream and loss");
  }

  std::vector<nn::NamedParameter> parameters() const override { return parts_.parameters; }
  DrawnBatch next() override {
    const auto batch = std::make_shared<const Batch>(parts_.stream->next());
    return {.weight = static_cast<double>(batch->tokens()), .tokens = batch->tokens(), .loss = [this, batch] {
              return parts_.loss(*batch);
            }};
  }
  BatchPosition position() const override { return parts_.stream->position(); }
  void seek(const BatchPosition& position) override { parts_.stream->seek(position); }
  Generator* generator() override { return parts_.generator; }
  std::optional<Evaluation> evaluate(std::int64_t step) override {
    if (!parts_.evaluate) return std::nullopt;
    return parts_.evaluate(step);
  }
  std::map<std::string, std::string> identity() const override { return parts_.identity; }

 private:
  Parts parts_;
};

}  // namespace headway::inline v1::train
