#include <headway/train/label_task.h>

#include <cmath>

#include <gtest/gtest.h>

#include <headway/core/factory.h>
#include <headway/nn/embedding.h>
#include <headway/nn/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>
#include <headway/train/trainer.h>

#include "io/temporary.h"

namespace headway::train {
namespace {

using test::TemporaryFolder;

// From a token to the class (token mod 3), through an embedding with dropout. Half the labels are asked for.
struct Classes : nn::Module {
  explicit Classes(Generator& generator)
      : table({.vocabulary = 12, .width = 8}, generator), output({.inputs = 8, .outputs = 3}, generator) {
    add_child("table", table);
    add_child("output", output);
  }
  Tensor operator()(const Tensor& ids) {
    Tensor x = reshape(table(ids), {ids.numel(), 8});
    if (generator()) x = dropout(x, 0.2, *generator());
    return output(x);
  }
  nn::Embedding table;
  nn::Linear output;
};

LabelledBatch draw(Generator& data) {
  std::vector<std::int32_t> ids, labels;
  for (int i = 0; i < 16; ++i) {
    ids.push_back(static_cast<std::int32_t>(data.below(12)));
    labels.push_back(data.below(2) == 0 ? -1 : ids.back() % 3);
  }
  return {from(ids, {4, 4}), from(labels, {16})};
}

struct Job {
  Generator initial{1}, dropout{2};
  Classes model{initial};
  LabelTask task;
  Adam optimizer{model.parameters()};
  Job()
      : task({.model = &model,
              .logits = [this](const Tensor& ids) { return model(ids); },
              .generator = &dropout,
              .draw = draw,
              .data_seed = 5,
              .valid = held_out()}) {}
  static std::vector<LabelledBatch> held_out() {
    Generator data(77);
    std::vector<LabelledBatch> batches;
    for (int i = 0; i < 8; ++i) batches.push_back(draw(data));
    return batches;
  }
  TrainSummary train(const std::filesystem::path& folder, std::int64_t steps) {
    return Trainer(task, optimizer,
                   {.folder = folder,
                    .steps = steps,
                    .schedule = {.decay = Decay::constant, .rate = 0.03},
                    .micro_batches = 2,
                    .evaluate_every = 10})
        .run();
  }
  std::vector<float> weights() const { return model.output.weight().to_vector<float>(); }
};

TEST(LabelTask, learns_and_goes_on_exactly_after_a_stop) {
  const TemporaryFolder folder;
  Job whole, first, second;
  const TrainSummary summary = whole.train({}, 60);
  EXPECT_EQ(summary.best_score, 1.0);  // a function of the token: nothing stands in the way
  first.train(folder / "run", 23);
  EXPECT_EQ(second.train(folder / "run", 60).steps, 60);
  EXPECT_EQ(second.weights(), whole.weights());
  EXPECT_TRUE(whole.model.training());
}

TEST(LabelTask, counts_only_the_labels_that_are_asked_for) {
  Job job;
  const DrawnBatch batch = job.task.next();
  Generator data(5);
  EXPECT_EQ(batch.weight, static_cast<double>(draw(data).asked()));
  EXPECT_LT(batch.weight, 16);
  EXPECT_GT(batch.weight, 0);
}

TEST(LabelTask, metrics_are_means_over_what_is_asked) {
  // Logits that always say class 1 with log-odds 2: right for one label of two, which is also the cheaper
  // one.
  const Logits logits = [](const Tensor&) { return from(std::vector<float>{0, 2, 0, 2, 0, 2}, {3, 2}); };
  const LabelMetrics metrics = label_metrics(logits, {{from(std::vector<std::int32_t>{1, 2, 3}, {3}),
                                                       from(std::vector<std::int32_t>{1, -1, 0}, {3})}});
  EXPECT_EQ(metrics.labels, 2);
  EXPECT_EQ(metrics.accuracy, 0.5);
  const double right = std::log1p(std::exp(-2.0));
  EXPECT_NEAR(metrics.loss, (right + right + 2) / 2, 4 * 0x1p-23);
  EXPECT_THROW(LabelTask({}), Error);
}

}  // namespace
}  // namespace headway::train
