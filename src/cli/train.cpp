#include <atomic>
#include <csignal>
#include <memory>

#include <fmt/format.h>

#include <headway/io/atomic_file.h>
#include <headway/text/prepared.h>
#include <headway/text/readers.h>
#include <headway/train/translation.h>

#include "cli/commands.h"
#include "cli/config_flags.h"
#include "cli/progress.h"

namespace headway::cli {
namespace {

std::atomic<bool> stop_asked{false};

// The first Ctrl-C finishes the step and writes a checkpoint; the second ends the program as usual.
void ask_to_stop(int signal) {
  stop_asked = true;
  std::signal(signal, SIG_DFL);
}

struct Options {
  std::string data, train_file, valid_file, out;
  std::string sample = "Click OK.";
  bool quiet = false;
};

train::TranslationData read_data(const Options& o) {
  if (!o.data.empty()) {
    text::PreparedCorpus corpus = text::read_corpus(o.data);
    return {std::move(corpus.train), std::move(corpus.valid)};
  }
  if (o.train_file.empty())
    fail(ErrorCode::value, "train", "there is nothing to train on; want --data FOLDER or --train FILE.tsv");
  train::TranslationData data;
  data.train = text::read_tsv(o.train_file);
  if (!o.valid_file.empty()) data.valid = text::read_tsv(o.valid_file);
  return data;
}

void run(const Options& o, const ConfigFlags& flags) {
  const train::TranslationConfig config = flags.config();
  if (config.training.steps <= 0 && config.training.minutes <= 0) {
    fail(ErrorCode::value, "train", "there is no end to it; want --steps N or --minutes M");
  }
  const train::TranslationData data = read_data(o);
  Progress progress("train");
  double seconds = 0;
  train::TranslationCallbacks calls;
  calls.on_note = [&](const std::string& line) { progress.note(line); };
  calls.on_step = [&](const train::StepReport& r) {
    seconds = r.seconds;
    progress.update(r.step, r.total_steps,
                    fmt::format("loss {:.3f}  rate {:.1e}  {} tokens/s", r.loss, r.rate,
                                short_number(r.tokens_per_second)),
                    r.seconds_left);
  };
  calls.on_evaluation = [&](std::int64_t step, const train::Evaluation& e, bool best,
                            const train::Translator& translator) {
    std::string line = fmt::format("{:>5}  step {}", duration(seconds), step);
    for (const auto& [name, value] : e.metrics)
      line += fmt::format("  {} {:.{}f}", name, value, name == "bleu" ? 1 : 3);
    progress.note(line + (best ? "  (best)" : ""));
    if (o.sample.empty()) return;
    models::DecodingOptions greedy = translator.config().decoding;
    greedy.beam_size = 1;
    progress.note(
        fmt::format("       \"{}\"  →  \"{}\"", o.sample, translator.translate({o.sample}, greedy)[0]));
  };
  std::signal(SIGINT, ask_to_stop);
  std::signal(SIGTERM, ask_to_stop);
  const train::TrainSummary summary = train::train_translation(config, data, o.out, calls, &stop_asked);
  progress.finish();
  const char* how = summary.ending == train::Ending::completed ? "done"
                    : summary.ending == train::Ending::out_of_patience
                        ? "done: no better for a while"
                        : "stopped: the same command goes on from here";
  fmt::print("{}: {} steps, {} target tokens, {}{}\n", how, summary.steps,
             short_number(static_cast<double>(summary.tokens)), duration(summary.seconds),
             summary.best_score
                 ? fmt::format("; best score {:.2f} at step {}", *summary.best_score, summary.best_step)
                 : "");
  if (summary.ending != train::Ending::stopped) io::write_file(std::filesystem::path(o.out) / "COMPLETE", "");
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("train", "Train a translator, or go on with a training that was stopped");
  const auto o = std::make_shared<Options>();
  command->add_option("--data", o->data, "Folder made by `headway prepare`");
  command->add_option("--train", o->train_file, "Or: sentence pairs, source TAB target");
  command->add_option("--valid", o->valid_file, "Pairs to measure on, source TAB target");
  command->add_option("--out", o->out, "Folder of the run: checkpoints, log.jsonl, curves.svg")->required();
  command->add_option("--sample", o->sample, "Sentence to translate at each evaluation")
      ->capture_default_str();
  const auto flags = std::make_shared<ConfigFlags>(*command);
  command->callback([o, flags] { run(*o, *flags); });
}

}  // namespace headway::cli
