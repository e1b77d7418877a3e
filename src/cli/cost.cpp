#include <array>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/parallel.h>
#include <headway/inspect/layer_cost.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"

namespace headway::cli {
namespace {

struct Options {
  inspect::LayerShape shape{.batch = 1, .length = 1024, .model_dim = 512, .heads = 8, .head_dim = 0};
  int repeats = 9;
  bool predict_only = false, json = false;
};

// What the clock can tell apart: scores, softmax and values are one pass.
std::array<double, 5> seconds_of(const inspect::LayerTimes& times) {
  return {times.projections, 0, times.attention, 0, times.output};
}

void print_text(const inspect::LayerCost& cost, const inspect::LayerTimes& times, bool measured) {
  const inspect::LayerShape& s = cost.shape;
  put("self-attention, forward: B={} n={} C={} h={} d={}, float32, {} threads\n", s.batch, s.length,
      s.model_dim, s.heads, s.head_dim, threads());
  std::vector<std::vector<std::string>> rows{{"part", "operations", "share", "GFLOP", "bytes"}};
  if (measured) rows[0].insert(rows[0].end(), {"time", "GFLOP/s"});
  const double total = cost.operations();
  const double inner = cost.parts[1].operations + cost.parts[2].operations + cost.parts[3].operations;
  for (std::size_t i = 0; i < cost.parts.size(); ++i) {
    const inspect::PartCost& part = cost.parts[i];
    rows.push_back({part.part, part.formula, fmt::format("{:.1f} %", 100 * part.operations / total),
                    fmt::format("{:.3f}", part.operations / 1e9),
                    part.bytes > 0 ? bytes_text(part.bytes) : "in cache"});
    if (!measured) continue;
    const double seconds = seconds_of(times)[i];
    const double operations = i == 2 ? inner : part.operations;
    rows.back().push_back(seconds > 0 ? time_text(seconds) : "with softmax");
    rows.back().push_back(seconds > 0 ? fmt::format("{:.0f}", operations / seconds / 1e9) : "");
  }
  const double seconds = times.projections + times.attention + times.output;
  rows.push_back({"all", "", "", fmt::format("{:.3f}", total / 1e9), ""});
  if (measured)
    rows.back().insert(rows.back().end(), {time_text(seconds), fmt::format("{:.0f}", total / seconds / 1e9)});
  print_table(rows);
  put("formulas are for one sequence; h·d is {}.\n", s.heads * s.head_dim);
  put("scores, softmax and values are one pass; an unfused one would write and read {} of scores.\n",
      bytes_text(cost.unfused_bytes));
  put("attention overtakes the projections at n = 2·C·d/(d+1) = {:.0f}, counted in operations",
      cost.overtaking_length);
  if (measured) {
    // Projections take a·n, attention b·n².
    put(";\nat the rates measured here, at n = {:.0f}",
        static_cast<double>(s.length) * (times.projections + times.output) / times.attention);
  }
  put(".\n");
}

void print_json(const inspect::LayerCost& cost, const inspect::LayerTimes& times, bool measured) {
  const inspect::LayerShape& s = cost.shape;
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (const auto& part : cost.parts) {
    parts.push_back({{"part", part.part},
                     {"formula", part.formula},
                     {"operations", part.operations},
                     {"bytes", part.bytes}});
  }
  nlohmann::ordered_json out{{"batch", s.batch},
                             {"length", s.length},
                             {"dim", s.model_dim},
                             {"heads", s.heads},
                             {"head_dim", s.head_dim},
                             {"threads", threads()},
                             {"parts", parts},
                             {"operations", cost.operations()},
                             {"unfused_bytes", cost.unfused_bytes},
                             {"overtaking_length", cost.overtaking_length}};
  if (measured) {
    out["seconds"] = {
        {"projections", times.projections}, {"attention", times.attention}, {"output", times.output}};
  }
  put_json(out);
}

void run(const Options& o) {
  const inspect::LayerCost cost = inspect::layer_cost(o.shape);
  const bool measured = !o.predict_only;
  const inspect::LayerTimes times =
      measured ? inspect::measure_layer(o.shape, o.repeats) : inspect::LayerTimes{};
  if (o.json)
    print_json(cost, times, measured);
  else
    print_text(cost, times, measured);
}

}  // namespace

void add_cost_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("cost", "What multi-head attention costs, part by part: predicted and measured");
  add_number(*command, "--heads", options->shape.heads, whole(1), "Heads h");
  add_number(*command, "--length", options->shape.length, whole(1), "Sequence length n");
  add_number(*command, "--dim", options->shape.model_dim, whole(1), "Model dimension C");
  add_number(*command, "--head-dim", options->shape.head_dim, whole(1),
             "Dimension d of each head (default: C/h)");
  add_number(*command, "--batch", options->shape.batch, whole(1), "Sequences B");
  CLI::Option* repeats = add_number(*command, "--repeats", options->repeats, whole(1, 1e6),
                                    "Runs of each part; the median counts");
  command->add_flag("--predict-only", options->predict_only, "Do not measure: any size, at once")
      ->excludes(repeats);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] { run(*options); });
}

}  // namespace headway::cli
