#include "cli/compare_train.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/inspect/similarity.h>
#include <headway/nn/embedding.h>
#include <headway/nn/feed_forward.h>
#include <headway/nn/norm.h>
#include <headway/nn/positions.h>
#include <headway/ops/loss.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>
#include <headway/train/optimizer.h>

#include "cli/compare_job.h"
#include "cli/progress.h"

namespace headway::cli {
namespace {

constexpr int kLayers = 2;
constexpr int kHeldOutBatches = 16;
constexpr double kRate = 2e-3;

struct Block : nn::Module {
  Block(inspect::Heads kind, const CompareJob& job, Generator& generator)
      : first({.width = job.model_dim}),
        heads(kind, job.model_dim, job.heads, generator),
        second({.width = job.model_dim}),
        feed_forward({.model_dim = job.model_dim, .hidden = 2 * job.model_dim}, generator) {
    add_child("first", first);
    add_child("heads", heads);
    add_child("second", second);
    add_child("feed_forward", feed_forward);
  }
  nn::Norm first;
  inspect::HeadsLayer heads;
  nn::Norm second;
  nn::FeedForward feed_forward;
};

// Pre-norm blocks between an embedding and a projection to the vocabulary.
struct Model : nn::Module {
  Model(inspect::Heads kind, const Job& task, const CompareJob& job, Generator& generator)
      : table({.vocabulary = task.vocabulary(), .width = job.model_dim}, generator),
        positions({.kind = nn::PositionKind::learned, .max_length = task.length(), .width = job.model_dim},
                  generator),
        last({.width = job.model_dim}),
        output({.inputs = job.model_dim, .outputs = task.vocabulary()}, generator),
        mask(task.mask()) {
    add_child("embedding", table);
    add_child("positions", positions);
    for (int l = 0; l < kLayers; ++l) {
      blocks.push_back(std::make_unique<Block>(kind, job, generator));
      add_child(std::to_string(l), *blocks.back());
    }
    add_child("last", last);
    add_child("output", output);
  }

  // ids [B, T] -> [B·T, V]. With `seen`, each block's weights.
  Tensor operator()(const Tensor& ids, std::vector<Tensor>* seen = nullptr) {
    const std::int64_t width = table.weight().size(1);
    std::vector<std::int32_t> places;
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      places.push_back(static_cast<std::int32_t>(i % ids.size(1)));
    Tensor x = embedding(ids, table.weight(),
                         {.scale = std::sqrt(static_cast<double>(width)),
                          .positions = positions.table(),
                          .position_ids = from(places, ids.shape())});
    for (const auto& block : blocks) {
      const nn::Attended attended =
          block->heads(block->first(x).output, {.mask = mask,
                                                .bias = {},
                                                .query_offsets = {},
                                                .key_offsets = {},
                                                .weights = seen ? Weights::per_head : Weights::none});
      if (seen) seen->push_back(attended.weights);
      x = add(x, attended.output);
      x = add(x, block->feed_forward(block->second(x).output));
    }
    return output(reshape(last(x).output, {ids.numel(), width}));
  }

  nn::Embedding table;
  nn::Positions positions;
  std::vector<std::unique_ptr<Block>> blocks;
  nn::Norm last;
  nn::Linear output;
  Mask mask;
};

void train(Model& model, const Job& task, std::int64_t steps, std::uint64_t seed, Progress& progress) {
  Generator data(1000 + seed);
  train::Adam optimizer(model.parameters(), {.clip_norm = 1});
  for (std::int64_t step = 0; step < steps; ++step) {
    const Job::Batch batch = task.draw(data, false);
    optimizer.zero_grad();
    const Tensor loss = cross_entropy(model(batch.ids), batch.targets);
    loss.backward();
    const double done = static_cast<double>(step) / static_cast<double>(steps);
    optimizer.step(kRate * std::min({1.0, static_cast<double>(step + 1) / 50, (1 - done) / 0.5}));
    if (step % 20 == 0) progress.update(step, steps);
  }
}

void evaluate(Model& model, const Job& task, JobResult& result) {
  const NoGrad no_grad;
  Generator data(1);  // the same questions for everybody
  double right = 0, asked = 0, bits = 0, divergence = 0;
  for (int b = 0; b < kHeldOutBatches; ++b) {
    const Job::Batch batch = task.draw(data, true);
    std::vector<Tensor> seen;
    const Tensor logits = model(batch.ids, &seen);
    const std::vector<std::int32_t> targets = batch.targets.to_vector<std::int32_t>();
    std::vector<std::int32_t> asked_for = targets;
    for (std::int32_t& target : asked_for) target = std::max(target, 0);
    const TokenScores scores = token_scores(logits, from(asked_for, batch.targets.shape()));
    const std::vector<float> log_probability = scores.log_probability.to_vector<float>();
    const std::vector<bool> correct = scores.correct.to_vector<bool>();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] < 0) continue;
      asked += 1;
      right += correct[i] ? 1 : 0;
      bits -= static_cast<double>(log_probability[i]) / std::log(2.0);
    }
    for (const Tensor& weights : seen)
      divergence += inspect::head_divergence(weights) / (kLayers * kHeldOutBatches);
  }
  result.quality.push_back(task.asks_questions() ? 100 * right / asked : bits / asked);
  result.divergence.push_back(divergence);
}

}  // namespace

JobReport run_job(const CompareJob& job) {
  const auto task = job.data.empty() ? make_recall_job() : make_text_job(job.data);
  JobReport report{.task = task->task(),
                   .quality_name = task->asks_questions() ? "right answers, %" : "held-out bits per byte",
                   .steps = job.steps > 0 ? job.steps : task->steps(),
                   .results = {}};
  for (const inspect::Heads kind : inspect::kAllHeads) {
    JobResult result{.kind = kind, .quality = {}, .divergence = {}};
    for (int s = 0; s < job.seeds; ++s) {
      Progress progress(fmt::format("{}, seed {}", name_of(kind), s + 1));
      Generator generator(static_cast<std::uint64_t>(s) + 1);
      Model model(kind, *task, job, generator);
      result.parameters = model.parameter_count();
      const auto start = std::chrono::steady_clock::now();
      train(model, *task, report.steps, static_cast<std::uint64_t>(s), progress);
      result.seconds +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / job.seeds;
      evaluate(model, *task, result);
    }
    report.results.push_back(result);
  }
  return report;
}

}  // namespace headway::cli
