// bench_training --do prepare --config FILE --data CORPUS --job FOLDER --batches N [--seed S]
//   writes what both sides train from (training/prepare.h).
// bench_training --do serve --job FOLDER --threads N --total-steps N [--dropout none] [--precision bf16]
// [--rate R]
//   a worker: the real trainer, held between steps. Requests:
//   {"do": "train", "steps": n} -> {"seconds": of all n, "losses": [...], "tokens": targets trained on}
//   {"do": "save", "path": FILE} -> {} : the weights, averaged where the configuration averages.
#include <optional>

#include <headway/core/parallel.h>
#include <headway/io/safetensors.h>
#include <headway/models/transformer.h>
#include <headway/nn/serialize.h>
#include <headway/train/average.h>
#include <headway/train/batches.h>
#include <headway/train/trainer.h>

#include "support/worker.h"
#include "training/prepare.h"

namespace headway::bench {
namespace {

class Side {
 public:
  explicit Side(const Arguments& arguments)
      : job_(load_job(arguments.text("job"))),
        generator_(job_.config.training.seed),
        total_steps_(arguments.number("total-steps", 0)) {
    models::TransformerOptions& model = job_.config.model;
    if (arguments.text("dropout", "") == "none")
      model.dropout = model.attention_dropout = model.activation_dropout = 0;
    if (arguments.text("precision", "") == "bf16") model.precision = DType::bfloat16;
    const std::string rate = arguments.text("rate", "");
    if (!rate.empty()) job_.config.training.schedule.rate = std::stod(rate);
    model_ = std::make_unique<models::Transformer>(model, generator_);
    io::load(*model_, std::filesystem::path(arguments.text("job")) / "initial.safetensors");
  }

  void run() {
    const train::TranslationTraining& t = job_.config.training;
    train::Adam adam(t.adam.weight_decay > 0
                         ? train::groups_by_rank(model_->parameters())
                         : std::vector<train::ParameterGroup>{{.parameters = model_->parameters()}},
                     t.adam);
    train::BatchStream batches(job_.examples, batch_options(job_.config));
    model_->train(generator_);
    train::StreamTask<train::BatchStream> task(
        {.parameters = model_->parameters(),
         .stream = &batches,
         .generator = &generator_,
         .loss = [&](const train::Batch& b) {
           return model_->loss({b.source, b.target_in, b.target_out, b.source_offsets, b.target_offsets},
                               t.label_smoothing);
         }});
    train::TrainerOptions options{.steps = total_steps_,
                                  .schedule = t.schedule,
                                  .micro_batches = t.micro_batches,
                                  .accumulate = t.accumulate};
    // The average is updated here, beside the trainer that would do just this, since `save` wants to read it.
    if (t.average_decay > 0) average_.emplace(model_->parameters(), t.average_decay);
    options.stop = &stop_;
    if (!wait()) return;
    train::Trainer(task, adam, options,
                   {.on_step = [this](const train::StepReport& report) { stepped(report); }})
        .run();
  }

 private:
  void stepped(const train::StepReport& report) {
    if (average_) average_->update();
    losses_.push_back(report.loss);
    tokens_ += report.tokens;
    if (static_cast<std::int64_t>(losses_.size()) < wanted_) return;
    answer({{"seconds", now() - begin_}, {"tokens", tokens_}, {"losses", losses_}});
    if (report.step < total_steps_ && !wait()) stop_ = true;
    if (report.step == total_steps_) {
      while (wait()) answer({{"error", "the training has ended"}});
    }
  }

  // Until steps are asked for; false when nothing will be.
  bool wait() {
    while (const auto request = next_request()) {
      if (request->at("do") == "train") {
        wanted_ = request->at("steps").get<std::int64_t>();
        losses_.clear();
        tokens_ = 0;
        begin_ = now();
        return true;
      }
      const train::ExponentialAverage::InUse averaged(average_ ? &*average_ : nullptr);
      io::save(*model_, request->at("path").get<std::string>());
      answer(Json::object());
    }
    return false;
  }

  Job job_;
  Generator generator_;
  std::int64_t total_steps_;
  std::unique_ptr<models::Transformer> model_;
  std::optional<train::ExponentialAverage> average_;
  std::atomic<bool> stop_{false};
  std::vector<double> losses_;
  std::int64_t wanted_ = 0, tokens_ = 0;
  double begin_ = 0;
};

}  // namespace
}  // namespace headway::bench

int main(int argc, char** argv) {
  using namespace headway::bench;
  const Arguments arguments(argc, argv);
  return guarded([&] {
    headway::set_threads(static_cast<int>(arguments.number("threads", 1)));
    if (arguments.text("do") == "prepare") {
      prepare(arguments.text("config"), arguments.text("data"), arguments.text("job"),
              arguments.number("batches", 1000), static_cast<std::uint64_t>(arguments.number("seed", 0)));
    } else {
      Side(arguments).run();
    }
  });
}
