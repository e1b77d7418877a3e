#include <headway/train/trainer.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/io/atomic_file.h>
#include <headway/train/average.h>
#include <headway/train/checkpoint.h>
#include <headway/train/curves.h>
#include <headway/train/log.h>

#include "train/step.h"
#include "train/trainer_check.h"

namespace headway::inline v1::train {
namespace {

[[noreturn]] void refuse(const std::string& message) { fail(ErrorCode::value, "train", message); }

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

class Trainer::Run {
 public:
  Run(Task& task, Adam& optimizer, const TrainerOptions& options, const TrainerCallbacks& callbacks)
      : task_(task),
        optimizer_(optimizer),
        options_(options),
        callbacks_(callbacks),
        parameters_(task.parameters()),
        store_(options.folder, options.keep) {
    if (options.average_decay > 0)
      average_ = std::make_unique<ExponentialAverage>(parameters_, options.average_decay);
    state_.identity = task.identity();
    state_.identity["micro_batches"] = std::to_string(options.micro_batches);
    state_.identity["accumulate"] = std::to_string(options.accumulate);
    state_.schedule = options.schedule;
    state_.total_steps = options.steps;
    if (saves()) open_folder();
    if (state_.schedule.steps == 0) state_.schedule.steps = state_.total_steps;
    before_ = state_.seconds;
    clear_gradients();
  }

  bool step() {
    if (ended()) return false;
    const Clock clock;
    update();
    measure(clock.seconds());
    const bool calibrated = state_.total_steps == 0 && calibration_is_over();
    if (calibrated) calibrate();
    report();
    bool save_now = calibrated || due(options_.checkpoint_every) || finished();
    if (due(options_.evaluate_every) || finished()) save_now = evaluate() || save_now;
    stopped_ = options_.stop && options_.stop->load();
    if (save_now || stopped_ || out_of_patience()) save();
    if (saves() && (finished() || out_of_patience())) draw_curves();
    return true;
  }

  TrainSummary summary() const {
    Ending ending = Ending::stopped;
    if (out_of_patience()) ending = Ending::out_of_patience;
    if (finished()) ending = Ending::completed;
    return {.ending = ending,
            .steps = state_.step,
            .tokens = state_.tokens,
            .best_step = state_.best_step,
            .best_score = state_.best_score,
            .seconds = seconds(),
            .last_loss = report_.loss};
  }

 private:
  bool saves() const { return !options_.folder.empty(); }
  bool finished() const { return state_.total_steps > 0 && state_.step >= state_.total_steps; }
  bool out_of_patience() const { return options_.patience > 0 && state_.stale >= options_.patience; }
  bool due(std::int64_t every) const { return every > 0 && state_.step % every == 0; }
  bool ended() const { return finished() || out_of_patience() || stopped_; }
  double seconds() const { return before_ + clock_.seconds(); }

  void open_folder() {
    io::make_folder(options_.folder);
    const std::int64_t newest = store_.recover();
    if (newest > 0 && !options_.resume) {
      refuse(fmt::format("{} holds checkpoints of a run; want to resume it, or another folder",
                         options_.folder.string()));
    }
    if (newest > 0) restore(store_.load(newest));
    log_ = std::make_unique<RunLog>(options_.folder / "log.jsonl", state_.log_bytes);
  }

  void restore(const Checkpoint& checkpoint) {
    const std::string what = store_.path(checkpoint.state.step).string();
    check_identity(checkpoint.state.identity, state_.identity, what);
    io::assign(model_tensors(), checkpoint.model, what + "/model.safetensors");
    optimizer_.load_state(checkpoint.optimizer, what + "/optimizer.safetensors");
    if (average_) {
      average_->load_state(checkpoint.average, checkpoint.state.average_updates,
                           what + "/average.safetensors");
    }
    io::assign(task_.state(), checkpoint.task, what + "/task.safetensors");
    if (Generator* generator = task_.generator())
      *generator = Generator(checkpoint.state.seed, checkpoint.state.next_call);
    task_.seek(checkpoint.state.position);
    // The recorded schedule holds, and so does the recorded length unless another number of steps is asked
    // for.
    const std::int64_t asked = state_.total_steps;
    const auto identity = std::move(state_.identity);
    state_ = checkpoint.state;
    state_.identity = identity;  // with entries that an older run had not
    if (asked > 0 && asked != state_.total_steps) {
      if (state_.schedule.steps == state_.total_steps) state_.schedule.steps = asked;
      state_.total_steps = asked;
    }
    saved_step_ = state_.step;
  }

  std::vector<io::NamedTensor> model_tensors() const {
    std::vector<io::NamedTensor> list;
    for (const auto& [name, tensor] : parameters_) list.push_back({name, tensor});
    return list;
  }

  void clear_gradients() const {
    for (const auto& parameter : parameters_) {
      if (parameter.tensor.requires_grad()) parameter.tensor.set_grad({});
    }
    optimizer_.zero_grad();
  }

  void update() {
    report_ = {};
    const StepTotals totals =
        compute_gradients(task_, optimizer_, state_.step + 1, options_, callbacks_.hooks);
    report_.loss = totals.loss;
    report_.weight = totals.weight;
    report_.tokens = totals.tokens;
    report_.rate =
        options_.rate ? options_.rate(state_.step + 1) : learning_rate(state_.schedule, state_.step + 1);
    const StepResult result = optimizer_.step(report_.rate);
    clear_gradients();
    if (average_) average_->update();
    not_finite_ = result.applied ? 0 : not_finite_ + 1;
    if (not_finite_ == 10) {
      refuse(fmt::format(
          "gradients were not finite ten times in a row, up to step {}; want a lower rate or clipping",
          state_.step + 1));
    }
    report_.gradient_norm = result.gradient_norm;
    ++state_.step;
    state_.tokens += report_.tokens;
    state_.position = task_.position();
  }

  void measure(double step_seconds) {
    constexpr double kSmooth = 0.95;  // a memory of about twenty steps
    const double rate = static_cast<double>(report_.tokens) / std::max(step_seconds, 1e-9);
    tokens_per_second_ = tokens_per_second_ > 0 ? kSmooth * tokens_per_second_ + (1 - kSmooth) * rate : rate;
    smooth_step_ = smooth_step_ > 0 ? kSmooth * smooth_step_ + (1 - kSmooth) * step_seconds : step_seconds;
    if (state_.total_steps == 0) calibration_.push_back(step_seconds);
  }

  bool calibration_is_over() const {
    constexpr double kShare = 0.05;  // of the time
    const auto steps = static_cast<std::int64_t>(calibration_.size());
    const Schedule& s = state_.schedule;
    if (needs_length(s) && s.steps == 0 && state_.step >= s.warmup) return true;
    return steps >= options_.calibration_steps && seconds() >= kShare * options_.minutes * 60;
  }

  // Fixes the number of steps that fit in the time, once; the checkpoint that this step ends with records it.
  // From then on the run is a function of its arguments and that number.
  void calibrate() {
    // The first half is slower: products of new shapes are planned, memory is fetched.
    const auto half = calibration_.begin() + std::ssize(calibration_) / 2;
    double cost =
        std::accumulate(half, calibration_.end(), 0.0) / static_cast<double>(calibration_.end() - half);
    if (options_.evaluate_every > 0) {
      double each = options_.evaluation_seconds;
      if (each < 0) {
        const Clock clock;
        measured_evaluation();
        each = clock.seconds();
      }
      cost += each / static_cast<double>(options_.evaluate_every);
    }
    const double left = options_.minutes * 60 - seconds();
    state_.total_steps = state_.step + std::max<std::int64_t>(1, static_cast<std::int64_t>(left / cost));
    if (state_.schedule.steps == 0) state_.schedule.steps = state_.total_steps;
    if (log_) {
      log_->write({{"kind", std::string("calibration")},
                   {"step", state_.step},
                   {"seconds_per_step", cost},
                   {"total_steps", state_.total_steps}});
    }
  }

  void report() {
    report_.step = state_.step;
    report_.total_steps = state_.total_steps;
    report_.epoch = state_.position.epoch;
    report_.tokens_per_second = tokens_per_second_;
    report_.seconds = seconds();
    report_.seconds_left =
        static_cast<double>(std::max<std::int64_t>(0, state_.total_steps - state_.step)) * smooth_step_;
    if (callbacks_.on_step) callbacks_.on_step(report_);
    if (report_.weight > 0) interval_loss_ += report_.loss * report_.weight;
    interval_weight_ += report_.weight;
    if (!log_ || !(due(options_.log_every) || finished())) return;
    log_->write({{"kind", std::string("step")},
                 {"step", state_.step},
                 {"epoch", report_.epoch},
                 {"loss", interval_loss_ / interval_weight_},
                 {"rate", report_.rate},
                 {"gradient_norm", report_.gradient_norm},
                 {"tokens_per_second", report_.tokens_per_second},
                 {"seconds", report_.seconds}});
    interval_loss_ = 0;
    interval_weight_ = 0;
  }

  std::optional<Evaluation> measured_evaluation() {
    const NoGrad no_grad;
    const ExponentialAverage::InUse averaged(average_.get());
    std::optional<Evaluation> evaluation = task_.evaluate(state_.step);
    if (!evaluation || !options_.best_by) return evaluation;
    const auto& [metric, direction] = *options_.best_by;
    const auto found = evaluation->metrics.find(metric);
    if (found == evaluation->metrics.end()) {
      std::string names;
      for (const auto& [name, value] : evaluation->metrics)
        names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
      refuse(fmt::format("the best is by \"{}\", which is not measured; want one of {}", metric, names));
    }
    evaluation->score = direction == BestBy::Direction::higher ? found->second : -found->second;
    return evaluation;
  }

  // True when it is the best so far.
  bool evaluate() {
    const std::optional<Evaluation> measured = measured_evaluation();
    if (!measured) return false;
    const Evaluation& evaluation = *measured;
    const bool best =
        !std::isnan(evaluation.score) && (!state_.best_score || evaluation.score > *state_.best_score);
    if (best) {
      state_.best_score = evaluation.score;
      state_.best_step = state_.step;
    }
    state_.stale = best ? 0 : state_.stale + 1;
    if (log_) {
      LogLine line{{"kind", std::string("evaluation")}, {"step", state_.step}, {"score", evaluation.score}};
      for (const auto& [name, value] : evaluation.metrics) line.emplace_back(name, value);
      log_->write(line);
      draw_curves();
    }
    if (callbacks_.on_evaluation) callbacks_.on_evaluation(state_.step, evaluation, best);
    return best;
  }

  void draw_curves() const { write_curves(options_.folder / "log.jsonl", options_.folder / "curves.svg"); }

  void save() {
    if (!saves() || saved_step_ == state_.step) return;
    if (const Generator* generator = task_.generator()) {
      state_.seed = generator->seed();
      state_.next_call = generator->next_call();
    }
    state_.average_updates = average_ ? average_->updates() : 0;
    state_.seconds = seconds();
    state_.log_bytes = log_->sync();
    Checkpoint checkpoint{.model = model_tensors(),
                          .optimizer = optimizer_.state(),
                          .average = {},
                          .task = task_.state(),
                          .files = options_.files,
                          .state = state_};
    if (average_) checkpoint.average = average_->state();
    store_.save(checkpoint);
    saved_step_ = state_.step;
    if (callbacks_.on_checkpoint) callbacks_.on_checkpoint(store_.path(state_.step));
  }

  Task& task_;
  Adam& optimizer_;
  const TrainerOptions options_;
  const TrainerCallbacks callbacks_;
  const std::vector<nn::NamedParameter> parameters_;
  CheckpointStore store_;
  std::unique_ptr<ExponentialAverage> average_;
  std::unique_ptr<RunLog> log_;
  TrainState state_;
  StepReport report_;
  Clock clock_;
  std::vector<double> calibration_;  // seconds of the steps so far, while their number is open
  double before_ = 0;                // seconds of earlier runs
  double tokens_per_second_ = 0, smooth_step_ = 0, interval_loss_ = 0, interval_weight_ = 0;
  std::int64_t saved_step_ = 0;
  int not_finite_ = 0;
  bool stopped_ = false;
};

Trainer::Trainer(Task& task, Adam& optimizer, const TrainerOptions& options,
                 const TrainerCallbacks& callbacks) {
  check_training(task, optimizer, options, callbacks);
  run_ = std::make_unique<Run>(task, optimizer, options, callbacks);
}

Trainer::~Trainer() = default;

TrainSummary Trainer::run() {
  while (run_->step()) {
  }
  return run_->summary();
}

bool Trainer::step() { return run_->step(); }
TrainSummary Trainer::summary() const { return run_->summary(); }

}  // namespace headway::inline v1::train
