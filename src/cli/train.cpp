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
#include "cli/options.h"
#include "cli/output.h"
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
  text::TableOptions table{.blank_sides = text::BlankSides::refuse};
};

text::Pairs read_pairs(const std::string& file, const text::TableOptions& table) {
  text::TableCounts counts;
  text::Pairs pairs = text::read_tsv(file, table, &counts);
  if (counts.wrong_columns + counts.blank_sides > 0) {
    complain(fmt::format("{}: {} lines skipped: {} with other columns, {} with a blank side",
                         printable(file, 400), counts.wrong_columns + counts.blank_sides,
                         counts.wrong_columns, counts.blank_sides));
  }
  return pairs;
}

train::TranslationData read_data(const Options& o) {
  if (!o.data.empty()) {
    text::PreparedCorpus corpus = text::read_corpus(o.data);
    return {std::move(corpus.train), std::move(corpus.valid)};
  }
  if (o.train_file.empty())
    fail(ErrorCode::value, "train", "there is nothing to train on; want --data FOLDER or --train FILE.tsv");
  train::TranslationData data;
  data.train = read_pairs(o.train_file, o.table);
  if (!o.valid_file.empty()) data.valid = read_pairs(o.valid_file, o.table);
  return data;
}

void run(const Options& o, const ConfigFlags& flags) {
  const train::TranslationConfig config = flags.config();
  check(config);
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
  const std::filesystem::path complete = std::filesystem::path(o.out) / "COMPLETE";
  std::filesystem::remove(complete);  // until the steps that are asked for now are made
  const train::TrainSummary summary = train::train_translation(config, data, o.out, calls, &stop_asked);
  progress.finish();
  if (summary.ending != train::Ending::stopped) io::write_file(complete, "");
  const char* how = summary.ending == train::Ending::completed ? "done"
                    : summary.ending == train::Ending::out_of_patience
                        ? "done: no better for a while"
                        : "stopped: the same command goes on from here";
  put("{}: {} steps, {} target tokens, {}{}\n", how, summary.steps,
      short_number(static_cast<double>(summary.tokens)), duration(summary.seconds),
      summary.best_score
          ? fmt::format("; best score {:.2f} at step {}", *summary.best_score, summary.best_step)
          : "");
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("train", "Train a translator, or go on with a training that was stopped");
  const auto o = std::make_shared<Options>();
  CLI::Option* data = command->add_option("--data", o->data, "Folder made by `headway prepare`");
  CLI::Option* pairs =
      command->add_option("--train", o->train_file, "Or: sentence pairs, source TAB target")->excludes(data);
  command->add_option("--valid", o->valid_file, "Pairs to measure on, source TAB target")->needs(pairs);
  add_number(*command, "--columns", o->table.columns, whole(2, text::kMaxColumns),
             "Of every line of --train and --valid, where there are more than two; the first two count")
      ->needs(pairs);
  command
      ->add_flag_callback(
          "--skip-bad", [o] { o->table.bad_lines = text::BadLines::skip; },
          "Skip lines with other columns or a blank side, and say how many")
      ->needs(pairs);
  command->add_option("--out", o->out, "Folder of the run: checkpoints, log.jsonl, curves.svg")->required();
  command->add_option("--sample", o->sample, "Sentence to translate at each evaluation")
      ->capture_default_str();
  const auto flags = std::make_shared<ConfigFlags>(*command);
  command->callback([o, flags] { run(*o, *flags); });
}

}  // namespace headway::cli
