#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <headway/nn/module.h>
#include <headway/train/batches.h>
#include <headway/train/optimizer.h>
#include <headway/train/schedule.h>

namespace headway::inline v1::train {

/// What one update did, for a progress display.
struct StepReport {
  std::int64_t step = 0, total_steps = 0;  ///< total 0: not known yet
  std::int64_t epoch = 0;
  double loss = 0;  ///< mean over the step's target tokens
  double rate = 0;
  double gradient_norm = 0;
  std::int64_t tokens = 0;       ///< target tokens of the step
  double tokens_per_second = 0;  ///< target tokens, smoothed over about twenty steps
  double seconds = 0;            ///< spent so far, earlier runs included
  double seconds_left = 0;       ///< of training steps; 0: not known yet
};

struct Evaluation {
  double score = 0;  ///< higher is better: BLEU, or minus the loss
  std::map<std::string, double> metrics =
      {};  ///< written to the log: "bleu" and "validation_loss" are drawn as curves
};

/// Everything is optional.
struct TrainerCallbacks {
  std::function<void(const StepReport&)> on_step = {};
  /// Measures the model. The weights are the averaged ones where averaging is on; nothing is recorded on the
  /// tape. It puts the model in evaluation mode, and back.
  std::function<Evaluation(std::int64_t step)> evaluate = {};
  std::function<void(std::int64_t step, const Evaluation&, bool best)> on_evaluation = {};
  std::function<void(const std::filesystem::path&)> on_checkpoint = {};
};

struct TrainerOptions {
  std::filesystem::path folder = {};  ///< of checkpoints, log.jsonl, curves.svg; empty: none are written
  std::int64_t steps = 0;             ///< length of the training, or …
  double minutes = 0;  ///< … its time: turned into a number of steps once, see calibration_steps
  /// With `minutes`: the time of a step is measured over the first steps, their first half left out: these
  /// many at least, and 5 % of the time. Where the schedule needs its length, it ends with the warm-up at the
  /// latest, which does not.
  std::int64_t calibration_steps = 30;
  double evaluation_seconds =
      -1;                       ///< with `minutes`: what one evaluation takes; negative: try one and measure
  Schedule schedule = {};       ///< its steps: the length of the training unless given
  std::int64_t accumulate = 1;  ///< batches per update
  double average_decay = 0;     ///< of the exponential average of the weights; 0: none is kept
  std::int64_t log_every = 10, evaluate_every = 0, checkpoint_every = 0;  ///< in steps; 0: only at the end
  int keep = 3;               ///< checkpoints kept beside the best
  std::int64_t patience = 0;  ///< stop after this many evaluations without a new best; 0: never
  bool resume = true;         ///< go on from the newest checkpoint in the folder; false: there must be none
  std::map<std::string, std::string> files = {};  ///< put in every checkpoint: config.json, tokenizer.model
  const std::atomic<bool>* stop =
      nullptr;  ///< when it becomes true: finish the step, write a checkpoint, return
};

/// What is trained. All of it outlives the trainer.
struct TrainerParts {
  std::vector<nn::NamedParameter> parameters = {};  ///< all of the model's: they make model.safetensors
  Adam* optimizer = nullptr;
  BatchStream* batches = nullptr;
  Generator* generator = nullptr;  ///< that the model's dropout draws from
  /// Mean loss over the target tokens of a batch, one element, on the tape.
  std::function<Tensor(const Batch&)> loss = {};
};

enum class Ending { completed, out_of_patience, stopped };

struct TrainSummary {
  Ending ending = Ending::completed;
  std::int64_t steps = 0, tokens = 0, best_step = 0;
  std::optional<double> best_score = {};
  double seconds = 0;
  double last_loss = 0;
};

/// Trains until the steps are made, patience runs out or `stop` is set. A run that was killed, at any moment,
/// and is started again with the same arguments goes on from its newest checkpoint and ends with the same
/// bits in its weights as one never interrupted. Error(value) when gradients are not finite ten times in a
/// row.
HEADWAY_API TrainSummary train(const TrainerParts& parts, const TrainerOptions& options,
                               const TrainerCallbacks& callbacks = {});

}  // namespace headway::inline v1::train
