#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include <headway/core/error.h>
#include <headway/text/bleu.h>
#include <headway/text/chrf.h>
#include <headway/text/prepared.h>
#include <headway/text/readers.h>
#include <headway/text/split.h>

#include "cli/commands.h"
#include "cli/evaluate_run.h"
#include "cli/options.h"
#include "cli/output.h"

namespace headway::cli {
namespace {

struct Options {
  std::vector<std::string> references;
  std::string hypothesis;  // empty: standard input
  std::string nearest_copy;
  std::vector<std::string> metrics{"bleu"};
  std::string tokenize = "13a";
  std::string smooth = "exp";
  std::optional<double> smooth_value;
  bool lowercase = false;
  bool effective_order = false;
  bool json = false;
  int bootstrap = 0;
  std::uint64_t seed = 12345;
};

struct Result {
  std::string name;
  double score = 0;
  std::optional<text::Interval> interval;
  std::string signature;
  std::string details;
};

struct Input {
  std::vector<std::string> hypotheses;
  text::References references;
};

Input read_input(const Options& options) {
  Input input;
  if (!options.nearest_copy.empty()) {
    const auto corpus = text::read_corpus(options.nearest_copy);
    input.hypotheses = text::nearest_copy_baseline(corpus.train, corpus.test);
    input.references.emplace_back();
    for (const auto& pair : corpus.test) input.references[0].push_back(pair.target);
    return input;
  }
  if (options.references.empty()) {
    fail(ErrorCode::value, "evaluate",
         "there is no reference; want --reference FILE or --nearest-copy CORPUS");
  }
  for (const std::string& file : options.references) input.references.push_back(text::read_sentences(file));
  text::LineReader reader =
      options.hypothesis.empty() ? text::LineReader::standard_input() : text::LineReader(options.hypothesis);
  for (std::string line; reader.next(line);) input.hypotheses.push_back(line);
  return input;
}

Result evaluate_bleu(const Input& input, const Options& options,
                     const std::optional<text::BootstrapOptions>& bootstrap) {
  const text::BleuOptions bleu{.tokenizer = text::bleu_tokenizer(options.tokenize),
                               .smoothing = text::bleu_smoothing(options.smooth),
                               .smooth_value = options.smooth_value,
                               .lowercase = options.lowercase,
                               .effective_order = options.effective_order};
  const auto counts = text::bleu_counts(input.hypotheses, input.references, bleu);
  text::BleuCounts total;
  for (const auto& sentence : counts) total += sentence;
  const text::BleuScore score = text::bleu_score(total, bleu);
  Result result{"BLEU",
                score.score,
                {},
                text::bleu_signature(bleu, input.references.size(), bootstrap),
                score.details()};
  if (bootstrap) result.interval = text::bleu_interval(counts, bleu, *bootstrap);
  return result;
}

Result evaluate_chrf(const Input& input, const Options& options, int word_order,
                     const std::optional<text::BootstrapOptions>& bootstrap) {
  const text::ChrfOptions chrf{.word_order = word_order, .lowercase = options.lowercase};
  const auto counts = text::chrf_counts(input.hypotheses, input.references, chrf);
  text::ChrfCounts total;
  for (const auto& sentence : counts) total += sentence;
  Result result{text::chrf_name(chrf),
                text::chrf_score(total, chrf),
                {},
                text::chrf_signature(chrf, input.references.size(), bootstrap),
                {}};
  if (bootstrap) result.interval = text::chrf_interval(counts, chrf, *bootstrap);
  return result;
}

void print(const std::vector<Result>& results, std::size_t sentences, bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Result& result : results) {
    if (!json) {
      const std::string interval =
          result.interval ? fmt::format(" ± {:.2f} [{:.2f}, {:.2f}]", result.interval->half_width(),
                                        result.interval->low, result.interval->high)
                          : "";
      put("{} {:.2f}{}{}{}\n  {}\n", result.name, result.score, interval, result.details.empty() ? "" : "  ",
          result.details, result.signature);
      continue;
    }
    nlohmann::ordered_json item{
        {"name", result.name}, {"score", result.score}, {"signature", result.signature}};
    if (!result.details.empty()) item["details"] = result.details;
    if (result.interval) {
      item["mean"] = result.interval->mean;
      item["low"] = result.interval->low;
      item["high"] = result.interval->high;
    }
    list.push_back(item);
  }
  if (json) put_json({{"sentences", sentences}, {"metrics", list}});
}

void check(const Options& options) {
  for (const std::string& metric : options.metrics) {
    if (metric != "bleu" && metric != "chrf" && metric != "chrf++")
      fail(ErrorCode::value, "evaluate",
           fmt::format("--metric is {}; want bleu, chrf or chrf++", quoted(metric)));
  }
  if (options.smooth_value && options.smooth != "floor" && options.smooth != "add-k")
    fail(ErrorCode::value, "evaluate",
         fmt::format("--smooth-value is given with --smooth {}; want floor or add-k", options.smooth));
}

void evaluate(const Options& options) {
  check(options);
  const Input input = read_input(options);
  std::optional<text::BootstrapOptions> bootstrap;
  if (options.bootstrap != 0) bootstrap = text::BootstrapOptions{options.bootstrap, options.seed};
  std::vector<Result> results;
  for (const std::string& metric : options.metrics) {
    if (metric == "bleu") {
      results.push_back(evaluate_bleu(input, options, bootstrap));
    } else {
      results.push_back(evaluate_chrf(input, options, metric == "chrf++" ? 2 : 0, bootstrap));
    }
  }
  print(results, input.hypotheses.size(), options.json);
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("evaluate", "Score translations against references (BLEU, chrF)");
  CLI::Option* reference =
      add_texts(*command, "-r,--reference", options->references, "a file of references; repeat for several");
  CLI::Option* hypothesis = command->add_option("-i,--hypothesis", options->hypothesis,
                                                "translations, one a line; standard input by default");
  CLI::Option* nearest = command->add_option(
      "--nearest-copy", options->nearest_copy,
      "score looking up instead: the nearest training sentence's translation, in a prepared corpus");
  nearest->excludes(reference)->excludes(hypothesis);
  CLI::Option* metric = add_texts(*command, "-m,--metric", options->metrics, "bleu, chrf, chrf++ [bleu]");
  CLI::Option* tokenize = command->add_option("--tokenize", options->tokenize, "13a, intl, char, none")
                              ->check(CLI::IsMember({"13a", "intl", "char", "none"}))
                              ->capture_default_str();
  CLI::Option* smooth = command->add_option("--smooth", options->smooth, "exp, floor, add-k, none")
                            ->check(CLI::IsMember({"exp", "floor", "add-k", "none"}))
                            ->capture_default_str();
  CLI::Option* smooth_value = add_number(*command, "--smooth-value", options->smooth_value, above_zero(),
                                         "for floor (0.1) and add-k (1)");
  CLI::Option* lowercase = command->add_flag("--lowercase", options->lowercase, "ignore case");
  CLI::Option* order = command->add_flag("--effective-order", options->effective_order,
                                         "leave out orders longer than the text");
  add_number(*command, "--bootstrap", options->bootstrap, whole(2, 1e6),
             "resamples for a 95 % interval, such as 1000");
  add_number(*command, "--seed", options->seed, any_seed(), "of the bootstrap");
  command->add_flag("--json", options->json, "print one JSON object");
  const auto run = std::make_shared<RunEvaluation>();
  CLI::Option* run_option = command->add_option(
      "run", run->run, "a run's folder or a checkpoint: translate the test set of --data and score that");
  CLI::Option* with_run[] = {
      command->add_option("--data", run->data, "with RUN: a folder made by `headway prepare`"),
      add_number(*command, "--beam", run->beam, whole(1), "with RUN: beam size (default: the run's)"),
      command->add_flag("--copy-baseline", run->copy_baseline,
                        "with RUN: also score copying the nearest training sentence's translation"),
      add_number(*command, "--examples", run->examples, whole(1, 3),
                 "with RUN: outputs to show, up to 3: best, worst, median")};
  for (CLI::Option* option : with_run) option->needs(run_option);
  for (CLI::Option* option :
       {reference, hypothesis, nearest, metric, tokenize, smooth, smooth_value, lowercase, order})
    run_option->excludes(option);
  command->callback([options, run] {
    if (run->run.empty()) return evaluate(*options);
    if (run->data.empty())
      fail(ErrorCode::value, "evaluate", "RUN is given without a test set; want --data FOLDER");
    if (options->bootstrap != 0) run->bootstrap = options->bootstrap;
    run->seed = options->seed;
    run->json = options->json;
    evaluate_run(*run);
  });
}

}  // namespace headway::cli
