#include <array>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/parallel.h>
#include <headway/inspect/layer_cost.h>

#include "cli/commands.h"
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
  fmt::print("self-attention, forward: B={} n={} C={} h={} d={}, float32, {} threads\n", s.batch, s.length,
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
  fmt::print("formulas are for one sequence; h·d is {}.\n", s.heads * s.head_dim);
  fmt::print("scores, softmax and values are one pass; an unfused one would write and read {} of scores.\n",
             bytes_text(cost.unfused_bytes));
  fmt::print("attention overtakes the projections at n = 2·C·d/(d+1) = {:.0f}, counted in operations",
             cost.overtaking_length);
  if (measured) {
    // Projections take a·n, attention b·n².
    fmt::print(";\nat the rates measured here, at n = {:.0f}",
               static_cast<double>(s.length) * (times.projections + times.output) / times.attention);
  }
  fmt::print(".\n");
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
  fmt::print("{}\n", out.dump());
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
  command->add_option("--heads", options->shape.heads, "Heads h")->capture_default_str();
  command->add_option("--length", options->shape.length, "Sequence length n")->capture_default_str();
  command->add_option("--dim", options->shape.model_dim, "Model dimension C")->capture_default_str();
  command->add_option("--head-dim", options->shape.head_dim, "Dimension d of each head (default: C/h)");
  command->add_option("--batch", options->shape.batch, "Sequences B")->capture_default_str();
  command->add_option("--repeats", options->repeats, "Runs of each part; the median counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--predict-only", options->predict_only, "Do not measure: any size, at once");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] { run(*options); });
}

}  // namespace headway::cli
