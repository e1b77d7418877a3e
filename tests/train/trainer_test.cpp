#include <headway/train/trainer.h>

#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/parallel.h>
#include <headway/ops/views.h>
#include <headway/train/checkpoint.h>

#include "io/temporary.h"
#include "train/tiny.h"

namespace headway::train {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using test::Tiny;

TrainerOptions options_in(const fs::path& folder) {
  return {.folder = folder,
          .steps = 40,
          .schedule = {.decay = Decay::cosine, .rate = 0.05, .warmup = 5},
          .accumulate = 2,
          .average_decay = 0.9,
          .log_every = 3,
          .evaluate_every = 10,
          .checkpoint_every = 8,
          .keep = 100,
          .files = {{"config.json", "{}"}}};
}

TrainSummary run(Tiny& tiny, const Tiny::Task::Parts& parts, const TrainerOptions& options,
                 const TrainerCallbacks& callbacks = {}) {
  Tiny::Task task(parts);
  return Trainer(task, tiny.optimizer, options, callbacks).run();
}

TrainSummary run(Tiny& tiny, const TrainerOptions& options, const TrainerCallbacks& callbacks = {}) {
  return run(tiny, tiny.parts(), options, callbacks);
}

// The lines of a log without what depends on the clock.
std::vector<std::string> timeless(const fs::path& log) {
  std::vector<std::string> lines;
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);)
    lines.push_back(line.substr(0, line.find(",\"tokens_per_second\"")));
  return lines;
}

TEST(Trainer, learns) {
  Tiny tiny;
  const double before = tiny.evaluate().metrics.at("validation_loss");
  TrainerOptions options = options_in({});
  options.steps = 300;
  const TrainSummary summary = run(tiny, options);
  EXPECT_EQ(summary.ending, Ending::completed);
  EXPECT_EQ(summary.steps, 300);
  // Nine tokens follow by rule nine times in ten: far below the log 12 = 2.5 of knowing nothing.
  EXPECT_LT(tiny.evaluate().metrics.at("validation_loss"), 1.9);
  EXPECT_LT(tiny.evaluate().metrics.at("validation_loss"), before);
  EXPECT_TRUE(summary.best_score.has_value());
}

TEST(Trainer, resumed_from_any_checkpoint_it_ends_with_the_same_bits) {
  const TemporaryFolder folder;
  Tiny uninterrupted;
  const TrainSummary whole = run(uninterrupted, options_in(folder / "whole"));
  const auto steps = CheckpointStore(folder / "whole").steps();
  ASSERT_GE(steps.size(), 6u);  // every 8th, and evaluations that were the best so far
  for (const std::int64_t step : steps) {
    // The folder as a kill some steps later leaves it: no newer checkpoint, half of one, a longer log, an old
    // LATEST.
    const fs::path copy = folder / ("from-" + std::to_string(step));
    fs::copy(folder / "whole", copy, fs::copy_options::recursive);
    for (const std::int64_t later : steps) {
      if (later > step) fs::remove_all(copy / ("step-" + std::to_string(later)));
    }
    test::put(copy / "LATEST", "step-8\n");
    fs::create_directory(copy / ".step-99.partial-1-1");
    Tiny resumed;
    const TrainSummary rest = run(resumed, options_in(copy));
    EXPECT_EQ(resumed.weights(), uninterrupted.weights()) << step;
    EXPECT_EQ(rest.best_step, whole.best_step);
    EXPECT_EQ(rest.best_score, whole.best_score);
    EXPECT_EQ(rest.tokens, whole.tokens);
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "average.safetensors"}) {
      EXPECT_EQ(test::get(copy / "step-40" / file), test::get(folder / "whole/step-40" / file))
          << step << file;
    }
    EXPECT_EQ(timeless(copy / "log.jsonl").size(), timeless(folder / "whole/log.jsonl").size()) << step;
    EXPECT_FALSE(fs::exists(copy / ".step-99.partial-1-1"));
    EXPECT_EQ(test::get(copy / "LATEST"), "step-40\n");
  }
}

TEST(Trainer, a_kill_in_any_step_loses_only_the_steps_since_the_checkpoint) {
  struct Killed {};
  const TemporaryFolder folder;
  Tiny uninterrupted;
  run(uninterrupted, options_in({}));
  for (int attempt = 0; attempt < 100; ++attempt) {
    Tiny tiny;
    int left = 13;
    TrainerCallbacks callbacks;
    callbacks.on_step = [&](const StepReport& report) {
      if (report.step < 40 && --left == 0) throw Killed();
    };
    try {
      run(tiny, options_in(folder / "run"), callbacks);
    } catch (const Killed&) {
      continue;
    }
    EXPECT_EQ(tiny.weights(), uninterrupted.weights());
    EXPECT_GE(attempt, 3);
    return;
  }
  FAIL() << "it never ended";
}

TEST(Trainer, gives_the_same_bits_for_any_number_of_threads) {
  const int before = threads();
  std::vector<std::vector<float>> results;
  for (const int count : {1, 2, 3, 4, 7}) {
    set_threads(count);
    Tiny tiny;
    run(tiny, options_in({}));
    results.push_back(tiny.weights());
  }
  set_threads(before);
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

TEST(Trainer, accumulated_batches_weigh_by_their_tokens) {
  // One update from two batches equals one from both as a single batch, up to rounding.
  Tiny two, one;
  TrainerOptions options{.steps = 1, .schedule = {.decay = Decay::constant, .rate = 0.01}, .accumulate = 2};
  const Batch first = two.batches.next(), second = two.batches.next();
  two.batches.seek({0, 0});
  std::vector<std::int64_t> both = first.examples;
  both.insert(both.end(), second.examples.begin(), second.examples.end());
  const Batch joined = make_batch(one.batches.examples(), both, one.batches.options());
  Tiny::Task::Parts two_parts = two.parts(), one_parts = one.parts();
  two_parts.loss = [&](const Batch& batch) { return two.loss(batch, false); };
  one_parts.loss = [&](const Batch&) { return one.loss(joined, false); };
  double norm_of_two = 0, norm_of_one = 0;
  run(two, two_parts, options, {.on_step = [&](const StepReport& r) { norm_of_two = r.gradient_norm; }});
  options.accumulate = 1;
  run(one, one_parts, options, {.on_step = [&](const StepReport& r) { norm_of_one = r.gradient_norm; }});
  // Sums of at most 120 float32 products in another order.
  EXPECT_NEAR(norm_of_two, norm_of_one, 120 * 0x1p-23 * norm_of_one);
}

TEST(Trainer, stops_on_request_with_a_checkpoint_and_goes_on_exactly) {
  const TemporaryFolder folder;
  Tiny uninterrupted, stopped, resumed;
  run(uninterrupted, options_in({}));
  std::atomic<bool> stop{false};
  TrainerOptions options = options_in(folder / "run");
  options.stop = &stop;
  TrainerCallbacks callbacks;
  callbacks.on_step = [&](const StepReport& report) { stop = report.step == 17; };
  const TrainSummary summary = run(stopped, options, callbacks);
  EXPECT_EQ(summary.ending, Ending::stopped);
  EXPECT_EQ(summary.steps, 17);
  EXPECT_EQ(CheckpointStore(folder / "run").latest(), folder / "run/step-17");
  stop = false;
  EXPECT_EQ(run(resumed, options).ending, Ending::completed);
  EXPECT_EQ(resumed.weights(), uninterrupted.weights());
}

TEST(Trainer, patience_ends_it_and_the_best_checkpoint_stays) {
  const TemporaryFolder folder;
  Tiny tiny;
  TrainerOptions options = options_in(folder / "run");
  options.patience = 2;
  options.evaluate_every = 5;
  options.keep = 1;
  const auto evaluate = [](std::int64_t step) {
    return Evaluation{.score = step == 10 ? 9.0 : 1.0, .metrics = {}};
  };
  Tiny::Task::Parts parts = tiny.parts();
  parts.evaluate = evaluate;
  const TrainSummary summary = run(tiny, parts, options);
  EXPECT_EQ(summary.ending, Ending::out_of_patience);
  EXPECT_EQ(summary.steps, 20);
  EXPECT_EQ(summary.best_step, 10);
  EXPECT_THAT(CheckpointStore(folder / "run").steps(), testing::ElementsAre(10, 20));
  Tiny again;
  Tiny::Task::Parts again_parts = again.parts();
  again_parts.evaluate = evaluate;
  EXPECT_EQ(run(again, again_parts, options).steps, 20);  // it stays ended
}

TEST(Trainer, minutes_become_steps_once_and_a_resumed_run_keeps_them) {
  const TemporaryFolder folder;
  Tiny first, resumed;
  TrainerOptions options = options_in(folder / "run");
  options.steps = 0;
  options.minutes = 1e-9;  // used up at once: one step is left after the calibration
  options.calibration_steps = 30;
  const TrainSummary summary = run(first, options);
  EXPECT_EQ(summary.steps, 6);  // cosine must know its length when its warm-up of 5 is over
  EXPECT_EQ(read_state(folder / "run/step-5").total_steps, 6);
  EXPECT_EQ(read_state(folder / "run/step-5").schedule.steps, 6);
  fs::remove_all(folder / "run/step-6");
  options.minutes = 100;
  EXPECT_EQ(run(resumed, options).steps, 6);
  EXPECT_EQ(resumed.weights(), first.weights());
}

TEST(Trainer, the_averaged_weights_are_evaluated_and_the_trained_ones_go_on) {
  Tiny tiny;
  TrainerOptions options = options_in({});
  std::vector<float> trained, evaluated;
  TrainerCallbacks callbacks;
  callbacks.on_step = [&](const StepReport&) { trained = tiny.weights(); };
  Tiny::Task::Parts parts = tiny.parts();
  parts.evaluate = [&](std::int64_t) {
    evaluated = tiny.weights();
    return Evaluation{};
  };
  run(tiny, parts, options, callbacks);
  EXPECT_NE(evaluated, trained);
  EXPECT_EQ(tiny.weights(), trained);
}

TEST(Trainer, a_folder_with_checkpoints_is_not_overwritten) {
  const TemporaryFolder folder;
  Tiny one, two;
  TrainerOptions options = options_in(folder / "run");
  run(one, options);
  options.resume = false;
  EXPECT_THROW(run(two, options), Error);
}

TEST(Trainer, gradients_that_stay_infinite_end_it_with_an_error) {
  Tiny tiny;
  Tiny::Task::Parts parts = tiny.parts();
  parts.loss = [&](const Batch& batch) {
    return scale(tiny.loss(batch, false), std::numeric_limits<double>::infinity());
  };
  EXPECT_THROW(run(tiny, parts, options_in({})), Error);
  EXPECT_EQ(tiny.weights(), Tiny().weights());
}

TEST(Trainer, a_run_of_another_identity_is_not_gone_on_with) {
  const TemporaryFolder folder;
  const auto run_on = [&](const std::string& corpus, std::int64_t accumulate) {
    Tiny tiny;
    Tiny::Task::Parts parts = tiny.parts();
    parts.identity = {{"corpus", corpus}};
    TrainerOptions options = options_in(folder / "run");
    options.accumulate = accumulate;
    return run(tiny, parts, options).steps;
  };
  EXPECT_EQ(run_on("one", 2), 40);
  EXPECT_EQ(run_on("one", 2), 40);
  EXPECT_THROW(run_on("another", 2), Error);
  EXPECT_THROW(run_on("one", 1), Error);
}

TEST(Trainer, a_longer_target_goes_on_and_a_rate_that_does_not_know_it_keeps_its_bits) {
  const TemporaryFolder folder;
  Tiny whole, first, second;
  TrainerOptions options = options_in({});
  options.schedule.decay = Decay::inverse_sqrt;
  run(whole, options);
  options.folder = folder / "run";
  options.steps = 16;
  EXPECT_EQ(run(first, options).steps, 16);
  options.steps = 40;
  EXPECT_EQ(run(second, options).steps, 40);
  EXPECT_EQ(second.weights(), whole.weights());
}

TEST(Trainer, the_best_is_by_any_metric_in_either_direction) {
  const auto best_step = [](const BestBy& by) {
    Tiny tiny;
    Tiny::Task::Parts parts = tiny.parts();
    parts.evaluate = [](std::int64_t step) {
      return Evaluation{.score = 0,
                        .metrics = {{"hump", step == 20 ? 2.0 : 1.0}, {"dip", step == 30 ? 1.0 : 2.0}}};
    };
    TrainerOptions options = options_in({});
    options.best_by = by;
    return run(tiny, parts, options).best_step;
  };
  EXPECT_EQ(best_step({.metric = "hump"}), 20);
  EXPECT_EQ(best_step({.metric = "dip", .direction = BestBy::Direction::lower}), 30);
  EXPECT_THROW(best_step({.metric = "f1"}), Error);
}

TEST(Trainer, a_rate_of_ones_own_takes_the_schedules_place) {
  Tiny tiny;
  TrainerOptions options = options_in({});
  options.steps = 3;
  options.rate = [](std::int64_t step) { return 0.01 * static_cast<double>(step); };
  std::vector<double> rates;
  run(tiny, options, {.on_step = [&](const StepReport& r) { rates.push_back(r.rate); }});
  EXPECT_THAT(rates, testing::ElementsAre(0.01, 0.02, 0.03));
}

// A task that carries something from step to step: the loss leans on the mean of the last weights seen.
struct Carrying final : Task {
  Tensor w = require_grad(full({4}, 1)), memory = zeros({4});
  std::int64_t at = 0;
  std::vector<nn::NamedParameter> parameters() const override { return {{"w", w}}; }
  DrawnBatch next() override {
    ++at;
    return {.weight = 1, .tokens = 1, .loss = [this] {
              const Tensor loss = sum(mul(w, add(w, memory.detach())));
              for (std::int64_t i = 0; i < 4; ++i)
                memory.data<float>()[i] = 0.5f * (memory.data<float>()[i] + w.data<float>()[i]);
              return loss;
            }};
  }
  BatchPosition position() const override { return {0, at}; }
  void seek(const BatchPosition& p) override { at = p.batch; }
  std::vector<io::NamedTensor> state() const override { return {{"memory", memory}}; }
};

TEST(Trainer, what_a_task_carries_on_comes_back) {
  const TemporaryFolder folder;
  const auto go = [&](const fs::path& at, std::int64_t steps) {
    Carrying task;
    Adam adam(task.parameters());
    Trainer(task, adam, {.folder = at, .steps = steps, .schedule = {.decay = Decay::constant, .rate = 0.1}})
        .run();
    return std::pair(task.w.to_vector<float>(), task.memory.to_vector<float>());
  };
  const auto whole = go({}, 9);
  go(folder / "run", 4);
  EXPECT_EQ(go(folder / "run", 9), whole);
}

TEST(Trainer, wrong_options_are_named) {
  Tiny tiny;
  TrainerOptions options = options_in({});
  options.minutes = 1;
  EXPECT_THROW(run(tiny, options), Error);
  options.steps = 0;
  options.schedule.warmup = 0;
  EXPECT_THROW(run(tiny, options), Error);
  EXPECT_THROW(Tiny::Task({}), Error);
}

}  // namespace
}  // namespace headway::train
