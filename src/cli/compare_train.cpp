#include "cli/compare_train.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/inspect/heads_model.h>
#include <headway/inspect/similarity.h>
#include <headway/train/trainer.h>

#include "cli/compare_job.h"
#include "cli/progress.h"

namespace headway::cli {
namespace {

constexpr int kLayers = 2;
constexpr int kHeldOutBatches = 16;
constexpr double kRate = 2e-3;

// Up over 50 steps, level, and down over the second half.
double rate_of(std::int64_t step, std::int64_t steps) {
  const double done = static_cast<double>(step - 1) / static_cast<double>(steps);
  return kRate * std::min({1.0, static_cast<double>(step) / 50, (1 - done) / 0.5});
}

void train_model(inspect::HeadsModel& model, const Job& job, std::int64_t steps, int seed,
                 Progress& progress) {
  train::LabelTask task({.model = &model,
                         .logits = [&](const Tensor& ids) { return model(ids); },
                         .draw = [&](Generator& data) { return job.draw(data, false); },
                         .data_seed = 1000 + static_cast<std::uint64_t>(seed)});
  train::Adam optimizer(model.parameters(), {.clip_norm = 1});
  train::TrainerOptions options{.steps = steps};
  options.rate = [steps](std::int64_t step) { return rate_of(step, steps); };
  train::Trainer(task, optimizer, options,
                 {.on_step =
                      [&](const train::StepReport& report) {
                        if (report.step % 20 == 1) progress.update(report.step, steps);
                      }})
      .run();
}

void evaluate(inspect::HeadsModel& model, const Job& job, JobResult& result) {
  const NoGrad no_grad;
  Generator data(1);  // the same questions for everybody
  std::vector<train::LabelledBatch> batches;
  for (int b = 0; b < kHeldOutBatches; ++b) batches.push_back(job.draw(data, true));
  double divergence = 0;
  const train::LabelMetrics metrics = train::label_metrics(
      [&](const Tensor& ids) {
        const auto seen = model.attend(ids, Weights::per_head);
        for (const Tensor& weights : seen.weights)
          divergence += inspect::head_divergence(weights) / (kLayers * kHeldOutBatches);
        return seen.logits;
      },
      batches);
  result.quality.push_back(job.asks_questions() ? 100 * metrics.accuracy : metrics.loss / std::log(2.0));
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
      inspect::HeadsModel model(kind,
                                {.vocabulary = task->vocabulary(),
                                 .length = task->length(),
                                 .model_dim = job.model_dim,
                                 .heads = job.heads,
                                 .layers = kLayers,
                                 .mask = task->mask()},
                                generator);
      result.parameters = model.parameter_count();
      const auto start = std::chrono::steady_clock::now();
      train_model(model, *task, report.steps, s, progress);
      result.seconds +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / job.seeds;
      evaluate(model, *task, result);
    }
    report.results.push_back(result);
  }
  return report;
}

}  // namespace headway::cli
