#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/inspect/compare.h>

#include "cli/commands.h"
#include "cli/compare_train.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"

namespace headway::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  // A quickstart-like batch; the width of the original Transformer with 2048 tokens, as sentences and as one
  // text.
  std::vector<std::string> sizes{"32,32,256,4", "4,512,512,8", "1,2048,512,8"};
  int repeats = 9;
  bool check = false, train = false, json = false;
  CompareJob job;
};

inspect::CompareSize size_of(const std::string& text) {
  inspect::CompareSize size;
  std::int64_t* fields[] = {&size.batch, &size.length, &size.model_dim, &size.heads};
  std::size_t at = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t end = i == 3 ? text.size() : std::min(text.find(',', at), text.size());
    const auto number = number_of<std::int64_t>(std::string_view(text).substr(at, end - at));
    if (!number || !whole(1).holds(*number) || (i < 3 && end == text.size())) {
      fail(ErrorCode::value, "compare",
           fmt::format("--size is {}; want four numbers B,T,C,H from 1 up, such as 4,512,512,8",
                       quoted(text)));
    }
    *fields[i] = *number;
    at = end + 1;
  }
  return size;
}

// Equal bits deserve a plain 0.
std::string difference_text(double difference) {
  return difference == 0 ? "0" : fmt::format("{:.1e}", difference);
}

std::string title(const inspect::CompareSize& s) {
  return fmt::format("B={} T={} C={} H={}, float32, {} threads", s.batch, s.length, s.model_dim, s.heads,
                     threads());
}

void print_check(const inspect::CompareSize& size, bool json) {
  const inspect::EqualityCheck check = inspect::check_equality(size);
  if (json) {
    return put_json({{"output", check.output},
                     {"input_gradient", check.input_gradient},
                     {"weight_gradient", check.weight_gradient}});
  }
  put("combined vs split heads: max |Δ| {} (gradients: input {}, weights {})\n",
      difference_text(check.output), difference_text(check.input_gradient),
      difference_text(check.weight_gradient));
}

std::string ratio(double value, double base) { return fmt::format("{:.2f}×", value / base); }

void print_rows(const inspect::CompareSize& size, const std::vector<inspect::CompareRow>& rows) {
  put("{}\n", title(size));
  std::vector<std::vector<std::string>> table{
      {"heads", "forward", "", "fwd+bwd", "", "GFLOP", "peak", "parameters", "max |Δ|", "what for"}};
  for (const auto& row : rows) {
    table.push_back(
        {std::string(name_of(row.kind)), time_text(row.forward_seconds),
         ratio(row.forward_seconds, rows[0].forward_seconds), time_text(row.training_seconds),
         ratio(row.training_seconds, rows[0].training_seconds), fmt::format("{:.3g}", row.operations / 1e9),
         bytes_text(static_cast<double>(row.peak_bytes)), fmt::format("{}", row.parameters),
         row.difference ? difference_text(*row.difference) : "other", std::string(use_of(row.kind))});
  }
  print_table(table, true);
  double spread = 0;
  for (const auto& row : rows) spread = std::max(spread, row.spread);
  put("times spread by up to ±{:.0f} %\n\n", 100 * spread);
  flush_out();  // the next size, or a training, takes its time
}

Json json_of(const inspect::CompareSize& size, const std::vector<inspect::CompareRow>& rows) {
  Json list = Json::array();
  for (const auto& row : rows) {
    list.push_back({{"heads", name_of(row.kind)},
                    {"forward_seconds", row.forward_seconds},
                    {"training_seconds", row.training_seconds},
                    {"spread", row.spread},
                    {"operations", row.operations},
                    {"peak_bytes", row.peak_bytes},
                    {"parameters", row.parameters},
                    {"difference", row.difference ? Json(*row.difference) : Json()},
                    {"use", use_of(row.kind)}});
  }
  return {{"batch", size.batch},
          {"length", size.length},
          {"dim", size.model_dim},
          {"heads", size.heads},
          {"rows", list}};
}

// Mean and sample deviation.
std::pair<double, double> spread(const std::vector<double>& values) {
  double mean = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / static_cast<double>(values.size() - 1)) : 0};
}

std::string with_spread(const std::vector<double>& values) {
  const auto [mean, deviation] = spread(values);
  return fmt::format("{:.3g} ± {:.2g}", mean, deviation);
}

void print_job(const JobReport& report, const CompareJob& job) {
  put("training: {}\n2 blocks, C={} H={}, {} steps, {} seeds\n", report.task, job.model_dim, job.heads,
      report.steps, job.seeds);
  std::vector<std::vector<std::string>> table{
      {"heads", "parameters", report.quality_name, "heads differ by", "time"}};
  for (const auto& result : report.results) {
    table.push_back({std::string(name_of(result.kind)), fmt::format("{}", result.parameters),
                     with_spread(result.quality),
                     result.kind == inspect::Heads::single ? "one head" : with_spread(result.divergence),
                     time_text(result.seconds)});
  }
  print_table(table);
  put("± is the deviation over seeds. Heads differ by: Jensen-Shannon divergence of two heads' weights, mean "
      "over\n"
      "pairs, queries and layers; 0 is alike, 1 is never looking at the same.\n");
}

Json json_of(const JobReport& report) {
  Json list = Json::array();
  for (const auto& result : report.results) {
    list.push_back({{"heads", name_of(result.kind)},
                    {"parameters", result.parameters},
                    {"quality", result.quality},
                    {"divergence", result.divergence},
                    {"seconds", result.seconds}});
  }
  return {
      {"task", report.task}, {"quality", report.quality_name}, {"steps", report.steps}, {"results", list}};
}

void run(const Options& o) {
  std::vector<inspect::CompareSize> sizes;
  for (const std::string& size : o.sizes) sizes.push_back(size_of(size));
  if (o.check) return print_check({.batch = 2, .length = 128, .model_dim = 512, .heads = 8}, o.json);
  Json out{{"threads", threads()}, {"sizes", Json::array()}};
  for (const inspect::CompareSize& size : sizes) {
    const auto rows = inspect::compare_heads(size, o.repeats);
    if (o.json)
      out["sizes"].push_back(json_of(size, rows));
    else
      print_rows(size, rows);
  }
  if (!o.json) {
    put("Times: medians of {} runs in turn. max |Δ|: against `combined` with equal weights (zeros or "
        "identity matrices\n"
        "where the kind has none); other: no weights of several heads make its function.\n",
        o.repeats);
  }
  if (o.train) {
    const JobReport report = run_job(o.job);
    if (o.json) {
      out["training"] = json_of(report);
    } else {
      put("\n");
      print_job(report, o.job);
    }
  }
  if (o.json) put_json(out);
}

}  // namespace

void add_compare_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("compare", "Ways of having heads, side by side: time, memory, results");
  CLI::Option* sizes = add_texts(*command, "--size", options->sizes, "B,T,C,H; repeat for several")
                           ->default_str(fmt::format("{}", fmt::join(options->sizes, " ")));
  CLI::Option* repeats =
      add_number(*command, "--repeats", options->repeats, whole(1, 1e6), "Timed runs; medians count");
  CLI::Option* check = command->add_flag("--check", options->check,
                                         "Only the largest difference between combined and split heads");
  CLI::Option* train = command->add_flag("--train", options->train, "Also train a small model of each kind");
  for (CLI::Option* other : {sizes, repeats, train}) check->excludes(other);
  command->add_option("--data", options->job.data, "A text to learn with --train (default: a recall task)")
      ->check(CLI::ExistingFile)
      ->needs(train);
  add_number(*command, "--seeds", options->job.seeds, whole(1, 1e6), "Trainings of each kind")->needs(train);
  add_number(*command, "--steps", options->job.steps, whole(1), "Of each training")->needs(train);
  add_number(*command, "--train-dim", options->job.model_dim, whole(1), "Model dimension of the trainings")
      ->needs(train);
  add_number(*command, "--train-heads", options->job.heads, whole(1), "Heads of the trainings")->needs(train);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] { run(*options); });
}

}  // namespace headway::cli
