#include <algorithm>
#include <barrier>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/train/checkpoint.h>

#include "io/temporary.h"
#include "train/tiny.h"

namespace headway::train {
namespace {

using test::TemporaryFolder;
using test::Tiny;
using testing::ElementsAre;

// Gradients of three parameters that no two orders of summation round alike.
GradientSum leaf(std::int64_t micro_batch) {
  Generator generator(100 + static_cast<std::uint64_t>(micro_batch));
  GradientSum sum{.gradients = {randn({33}, generator), randn({5, 7}, generator), {}},
                  .loss = 0.1 * static_cast<double>(micro_batch + 1) / 3};
  if (micro_batch % 2 == 1) sum.gradients[2] = randn({4}, generator);
  return sum;
}

std::vector<std::vector<float>> values(const GradientSum& sum) {
  std::vector<std::vector<float>> all;
  for (const Tensor& gradient : sum.gradients)
    all.push_back(gradient.defined() ? gradient.to_vector<float>() : std::vector<float>{});
  return all;
}

TEST(TreeSum, has_the_same_bits_however_its_subtrees_are_dealt_to_ranks) {
  for (const std::int64_t count : {1, 2, 3, 4, 6, 8, 12}) {
    const GradientSum whole = tree_sum(0, count, leaf);
    for (const std::int64_t ranks : {1, 2, 4, 8}) {
      if (count % ranks != 0) continue;
      std::vector<GradientSum> sums;
      for (std::int64_t rank = 0; rank < ranks; ++rank)
        sums.push_back(tree_sum(rank * (count / ranks), count / ranks, leaf));
      while (sums.size() > 1) {  // neighbours in pairs, until one is left
        std::vector<GradientSum> pairs;
        for (std::size_t i = 0; i < sums.size(); i += 2) {
          add_gradients(sums[i], std::move(sums[i + 1]));
          pairs.push_back(std::move(sums[i]));
        }
        sums = std::move(pairs);
      }
      EXPECT_EQ(values(sums[0]), values(whole)) << count << " on " << ranks;
      EXPECT_EQ(sums[0].loss, whole.loss) << count << " on " << ranks;
    }
  }
}

TEST(TreeSum, is_no_running_sum) {
  GradientSum running = leaf(0);
  for (std::int64_t i = 1; i < 8; ++i) add_gradients(running, leaf(i));
  EXPECT_NE(values(running), values(tree_sum(0, 8, leaf)));  // or the test above could not fail
}

TEST(TreeSum, holds_no_more_sums_than_the_tree_is_high) {
  for (const std::int64_t count : {1, 2, 3, 4, 5, 8, 13, 64}) {
    std::vector<std::weak_ptr<int>> alive;
    std::size_t most = 0;
    std::vector<std::int64_t> order;
    tree_sum(0, count, [&](std::int64_t i) {
      order.push_back(i);
      const auto mark = std::make_shared<int>();
      alive.push_back(mark);
      GradientSum sum{.gradients = {Tensor::wrap(mark.get(), {0}, DType::float32, mark)}};
      std::size_t now = 0;
      for (const auto& each : alive) now += each.expired() ? 0 : 1;
      most = std::max(most, now);
      return sum;
    });
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    EXPECT_EQ(std::ssize(order), count);
    EXPECT_LE(static_cast<double>(most), std::ceil(std::log2(count)) + 1) << count;
  }
}

TrainerOptions options_of(std::int64_t micro_batches, std::int64_t steps = 12) {
  return {
      .steps = steps, .schedule = {.decay = Decay::constant, .rate = 0.02}, .micro_batches = micro_batches};
}

TrainSummary run(Tiny& tiny, const TrainerOptions& options, const TrainerCallbacks& callbacks = {}) {
  Tiny::Task task(tiny.parts());
  return Trainer(task, tiny.optimizer, options, callbacks).run();
}

TEST(MicroBatches, resumed_from_any_checkpoint_four_of_them_end_with_the_same_bits) {
  const TemporaryFolder folder;
  Tiny uninterrupted;
  run(uninterrupted, options_of(4));
  for (const std::int64_t stop_at : {1, 5, 11}) {
    TrainerOptions options = options_of(4);
    options.folder = folder / std::to_string(stop_at);
    std::atomic<bool> stop{false};
    options.stop = &stop;
    Tiny stopped, resumed;
    EXPECT_EQ(
        run(stopped, options, {.on_step = [&](const StepReport& r) { stop = r.step == stop_at; }}).ending,
        Ending::stopped);
    stop = false;
    EXPECT_EQ(run(resumed, options).steps, 12);
    EXPECT_EQ(resumed.weights(), uninterrupted.weights()) << stop_at;
  }
}

// The hook of a rank: hands its sum to the other, and takes the pair's.
struct Exchange {
  std::barrier<> both{2};
  StepGradients given[2];

  void operator()(std::size_t rank, StepGradients& mine) {
    given[rank] = mine;
    both.arrive_and_wait();
    mine.loss = given[0].loss + given[1].loss;
    for (std::size_t i = 0; i < mine.gradients.size(); ++i)
      mine.gradients[i].gradient = add(given[0].gradients[i].gradient, given[1].gradients[i].gradient);
    both.arrive_and_wait();  // before the next step's are given
  }
};

TEST(MicroBatches, two_processes_that_share_them_end_with_the_bits_of_one) {
  for (const std::int64_t count : {2, 4, 6}) {
    Tiny alone;
    std::vector<double> losses;
    run(alone, options_of(count), {.on_step = [&](const StepReport& r) { losses.push_back(r.loss); }});
    Exchange exchange;
    Tiny ranks[2];
    std::vector<double> rank_losses[2];
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        TrainerOptions options = options_of(count);
        options.part = {.index = static_cast<std::int64_t>(rank), .count = 2};
        run(ranks[rank], options,
            {.hooks = {[&](StepGradients& step) { exchange(rank, step); }},
             .on_step = [&](const StepReport& r) { rank_losses[rank].push_back(r.loss); }});
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(ranks[rank].weights(), alone.weights()) << count;
      EXPECT_EQ(rank_losses[rank], losses) << count;
    }
  }
}

TEST(MicroBatches, dropout_of_one_is_the_same_alone_and_in_sequence) {
  // What each loss draws first, by batch of the stream.
  const auto drawn = [](std::int64_t micro_batches, Part part) {
    Tiny tiny;
    std::map<std::int64_t, std::vector<double>> by_step;
    Tiny::Task::Parts parts = tiny.parts();
    std::int64_t step = 1;
    parts.loss = [&](const Batch& batch) {
      by_step[step].push_back(Generator(tiny.dropout_generator).uniform());
      return tiny.loss(batch, true);
    };
    Tiny::Task task(parts);
    TrainerOptions options = options_of(micro_batches, 3);
    options.part = part;
    Trainer(task, tiny.optimizer, options, {.hooks = {[&](StepGradients&) { ++step; }}}).run();
    return by_step;
  };
  const auto all = drawn(4, {});
  std::set<double> different;
  for (const auto& [step, numbers] : all) different.insert(numbers.begin(), numbers.end());
  EXPECT_EQ(different.size(), 12u);
  for (const std::int64_t ranks : {2, 4}) {
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      for (const auto& [step, numbers] : drawn(4, {.index = rank, .count = ranks})) {
        const auto first = all.at(step).begin() + rank * (4 / ranks);
        EXPECT_EQ(numbers, std::vector<double>(first, first + 4 / ranks)) << step;
      }
    }
  }
}

TEST(MicroBatches, one_draws_from_the_generator_as_it_stands) {
  // As runs did before there were micro-batches: their checkpoints go on with the same bits.
  Tiny tiny;
  run(tiny, options_of(1, 3));
  EXPECT_EQ(tiny.dropout_generator.next_call(), 3u);
  EXPECT_EQ(tiny.dropout_generator.seed(), 2u);
  Tiny streams;
  run(streams, options_of(2, 3));
  EXPECT_EQ(streams.dropout_generator.next_call(), 0u);
}

TEST(MicroBatches, weigh_by_what_counts_in_them) {
  // Four give the gradient of the mean over all their tokens: that of one batch of all.
  Tiny four, one;
  std::vector<std::int64_t> all;
  for (int i = 0; i < 4; ++i) {
    const Batch batch = four.batches.next();
    all.insert(all.end(), batch.examples.begin(), batch.examples.end());
  }
  four.batches.seek({0, 0});
  const Batch joined = make_batch(one.batches.examples(), all, one.batches.options());
  Tiny::Task::Parts four_parts = four.parts(), one_parts = one.parts();
  four_parts.loss = [&](const Batch& batch) { return four.loss(batch, false); };
  one_parts.loss = [&](const Batch&) { return one.loss(joined, false); };
  Tiny::Task four_task(four_parts), one_task(one_parts);
  double norm_of_four = 0, norm_of_one = 0;
  Trainer(four_task, four.optimizer, options_of(4, 1),
          {.on_step = [&](const StepReport& r) { norm_of_four = r.gradient_norm; }})
      .run();
  Trainer(one_task, one.optimizer, options_of(1, 1),
          {.on_step = [&](const StepReport& r) { norm_of_one = r.gradient_norm; }})
      .run();
  // Sums of at most 240 float32 products in another order.
  EXPECT_NEAR(norm_of_four, norm_of_one, 240 * 0x1p-23 * norm_of_one);
}

struct Weighted final : Task {
  Tensor w = require_grad(ones({1}));
  std::vector<double> weights;
  std::size_t at = 0;
  explicit Weighted(std::vector<double> all) : weights(std::move(all)) {}
  std::vector<nn::NamedParameter> parameters() const override { return {{"w", w}}; }
  DrawnBatch next() override {
    const double weight = weights[at++ % weights.size()];
    return {.weight = weight, .tokens = 1, .loss = [this, weight] {
              // The mean over nothing is not a number.
              return scale(w, weight > 0 ? 1.0 : std::numeric_limits<double>::quiet_NaN());
            }};
  }
  BatchPosition position() const override { return {0, static_cast<std::int64_t>(at)}; }
  void seek(const BatchPosition& p) override { at = static_cast<std::size_t>(p.batch); }
};

TEST(MicroBatches, those_in_which_nothing_counts_are_passed_over) {
  Weighted some({3, 0, 1, 0}), none({0});
  Adam some_adam(some.parameters()), none_adam(none.parameters());
  double loss = 0, norm = 0;
  Trainer(some, some_adam, options_of(4, 1),
          {.on_step =
               [&](const StepReport& r) {
                 loss = r.loss;
                 norm = r.gradient_norm;
               }})
      .run();
  EXPECT_EQ(loss, 1);  // 3/4·1 + 1/4·1
  EXPECT_EQ(norm, 1);
  Trainer(none, none_adam, options_of(2, 3), {.on_step = [&](const StepReport& r) { loss = r.loss; }}).run();
  EXPECT_TRUE(std::isnan(loss));
  EXPECT_EQ(none.w.item<float>(), 1);
  Weighted negative({-1});
  Adam adam(negative.parameters());
  EXPECT_THROW(Trainer(negative, adam, options_of(1, 1)).run(), Error);
}

TEST(MicroBatches, hooks_run_in_order_between_sum_and_clipping) {
  Tiny tiny;
  Tiny::Task task(tiny.parts());
  std::vector<std::string> order;
  std::vector<std::string> names;
  double norm = 0;
  Trainer trainer(task, tiny.optimizer, options_of(2, 2),
                  {.hooks = {[&](StepGradients& step) {
                               order.push_back("first " + std::to_string(step.step));
                               names.clear();
                               for (const auto& g : step.gradients) names.push_back(g.name);
                               for (auto& g : step.gradients) g.gradient = full(g.parameter.shape(), 3);
                             },
                             [&](StepGradients& step) {
                               order.push_back("second " + std::to_string(step.step));
                               EXPECT_EQ(step.gradients[0].gradient.data<float>()[0], 3);
                               step.gradients[1].gradient = {};
                             }},
                   .on_step = [&](const StepReport& r) {
                     order.push_back("step " + std::to_string(r.step));
                     norm = r.gradient_norm;
                   }});
  const auto weight = tiny.weight.to_vector<float>();
  EXPECT_TRUE(trainer.step());
  EXPECT_THAT(order, ElementsAre("first 1", "second 1", "step 1"));
  EXPECT_TRUE(trainer.step());
  EXPECT_FALSE(trainer.step());
  EXPECT_EQ(trainer.summary().steps, 2);
  EXPECT_THAT(names, ElementsAre("table", "weight", "bias"));
  // 12·8 + 12 threes: before clipping, since tiny clips at 1. The parameter without gradient stays.
  EXPECT_DOUBLE_EQ(norm, 3 * std::sqrt(108.0));
  EXPECT_EQ(tiny.weight.to_vector<float>(), weight);
}

TEST(MicroBatches, a_part_wants_a_hook_and_a_power_of_two) {
  Tiny tiny;
  TrainerOptions options = options_of(6);
  const TrainerCallbacks hook{.hooks = {[](StepGradients&) {}}};
  options.part = {.index = 0, .count = 3};
  EXPECT_THROW(run(tiny, options, hook), Error);
  options.part = {.index = 0, .count = 4};  // does not divide 6
  EXPECT_THROW(run(tiny, options, hook), Error);
  options.part = {.index = 2, .count = 2};
  EXPECT_THROW(run(tiny, options, hook), Error);
  options.part = {.index = 1, .count = 2};
  EXPECT_THROW(run(tiny, options), Error);
  options = options_of(0);
  EXPECT_THROW(run(tiny, options), Error);
}

}  // namespace
}  // namespace headway::train
