#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/train/gradients.h>
#include <headway/train/optimizer.h>
#include <headway/train/schedule.h>
#include <headway/train/task.h>

namespace headway::inline v1::train {

/// What one update did, for a progress display.
struct StepReport {
  std::int64_t step = 0, total_steps = 0;  ///< total 0: not known yet
  std::int64_t epoch = 0;
  double loss = 0;    ///< mean over what counts in the step's batches
  double weight = 0;  ///< what that is a mean over
  double rate = 0;
  double gradient_norm = 0;
  std::int64_t tokens = 0;       ///< of the step
  double tokens_per_second = 0;  ///< smoothed over about twenty steps
  double seconds = 0;            ///< spent so far, earlier runs included
  double seconds_left = 0;       ///< of training steps; 0: not known yet
};

/// Everything is optional.
struct TrainerCallbacks {
  /// Called in order for each step, between the sum of its gradients and their clipping.
  std::vector<GradientHook> hooks = {};
  std::function<void(const StepReport&)> on_step = {};
  std::function<void(std::int64_t step, const Evaluation&, bool best)> on_evaluation = {};
  std::function<void(const std::filesystem::path&)> on_checkpoint = {};
};

/// Which metric of an evaluation makes a checkpoint the best, and patience last.
struct BestBy {
  enum class Direction { higher, lower };
  std::string metric = {};
  Direction direction = Direction::higher;
};

/// A process's part of the micro-batches of a step: range number `index` of `count` equal ones.
struct Part {
  std::int64_t index = 0, count = 1;
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
      -1;                  ///< with `minutes`: what one evaluation takes; negative: try one and measure
  Schedule schedule = {};  ///< its steps: the length of the training unless given
  std::function<double(std::int64_t step)> rate = {};  ///< of step 1, 2, …, instead of the schedule's
  /// Parts of a step whose gradients are summed in a fixed binary tree: see tree_sum(). The unit that
  /// processes share.
  std::int64_t micro_batches = 1;
  std::int64_t accumulate = 1;  ///< batches of a micro-batch, whose gradients are added up one by one
  /// With count above 1 every process draws all batches and computes those of its part; hooks must then make
  /// loss and gradients those of all parts. count: a power of two that divides micro_batches.
  Part part = {};
  double average_decay = 0;  ///< of the exponential average of the weights; 0: none is kept
  std::int64_t log_every = 10, evaluate_every = 0, checkpoint_every = 0;  ///< in steps; 0: only at the end
  int keep = 3;                        ///< checkpoints kept beside the best
  std::optional<BestBy> best_by = {};  ///< none: an evaluation's score
  std::int64_t patience = 0;           ///< stop after this many evaluations without a new best; 0: never
  bool resume = true;  ///< go on from the newest checkpoint in the folder; false: there must be none
  std::map<std::string, std::string> files = {};  ///< put in every checkpoint: config.json, tokenizer.model
  const std::atomic<bool>* stop =
      nullptr;  ///< when it becomes true: finish the step, write a checkpoint, return
};

enum class Ending { completed, out_of_patience, stopped };

struct TrainSummary {
  Ending ending = Ending::completed;
  std::int64_t steps = 0, tokens = 0, best_step = 0;
  std::optional<double> best_score = {};
  double seconds = 0;
  double last_loss = 0;
};

/// Trains a task until the steps are made, patience runs out or `stop` is set. A step is `micro_batches`
/// micro-batches, their gradients' sum, the hooks, clipping, and an update. A run that was killed, at any
/// moment, and is started again with the same arguments goes on from its newest checkpoint and ends with the
/// same bits in its weights as one never interrupted.
class HEADWAY_API Trainer {
 public:
  /// Task and optimizer outlive it. Opens the folder, and goes on from its newest checkpoint. Error(value)
  /// for options that are out of range, an optimizer that updates what is not the task's, or a checkpoint of
  /// a run with another identity, naming the first entry that differs.
  Trainer(Task& task, Adam& optimizer, const TrainerOptions& options, const TrainerCallbacks& callbacks = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Steps until the end. Error(value) when gradients are not finite ten times in a row.
  TrainSummary run();
  /// One step, with the evaluation and the checkpoint that fall due after it. False: the training has ended,
  /// and there was none.
  bool step();
  TrainSummary summary() const;

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

}  // namespace headway::inline v1::train
