#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/io/safetensors.h>
#include <headway/train/checkpoint.h>
#include <headway/train/translator.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace headway::cli {
namespace {

struct Options {
  std::string run;
  bool tensors = false, json = false;
};

void run(const Options& o) {
  namespace fs = std::filesystem;
  const fs::path folder = train::find_checkpoint(o.run);
  const train::Translator translator = train::Translator::load(folder);
  const train::TrainState state = train::read_state(folder);
  std::int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    bytes += static_cast<std::int64_t>(entry.file_size());
  const auto config = nlohmann::ordered_json::parse(train::to_json(translator.config()));
  const std::int64_t count = translator.model().parameter_count();
  if (o.json) {
    nlohmann::ordered_json out{{"checkpoint", folder.string()},
                               {"parameters", count},
                               {"bytes", bytes},
                               {"step", state.step},
                               {"epoch", state.position.epoch},
                               {"target_tokens", state.tokens},
                               {"seconds", state.seconds}};
    out["best_score"] =
        state.best_score ? nlohmann::ordered_json(*state.best_score) : nlohmann::ordered_json();
    out["best_step"] = state.best_step;
    out["config"] = config;
    for (const auto& p : translator.model().parameters()) {
      if (o.tensors)
        out["tensors"].push_back(
            {{"name", p.name},
             {"shape", std::vector<std::int64_t>(p.tensor.shape().begin(), p.tensor.shape().end())}});
    }
    put_json(out, 2);
    return;
  }
  put("checkpoint   {}\nparameters   {} ({:.1f} MB on disk with the optimizer's state)\n", folder.string(),
      count, static_cast<double>(bytes) / 1e6);
  put("training     {} steps, epoch {}, {} target tokens, {}\n", state.step, state.position.epoch + 1,
      short_number(static_cast<double>(state.tokens)), duration(state.seconds));
  if (state.best_score) put("best         score {:.2f} at step {}\n", *state.best_score, state.best_step);
  for (const auto& [section, fields] : config.items()) {
    if (!fields.is_object()) continue;
    put("{}\n", section);
    for (const auto& [key, value] : fields.items())
      put("  {:<24}{}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  for (const auto& p : translator.model().parameters()) {
    if (o.tensors) put("  {:<56}{}\n", p.name, p.tensor.shape().str());
  }
}

}  // namespace

void add_info_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("info", "What a checkpoint holds: sizes, configuration, training record");
  const auto o = std::make_shared<Options>();
  command->add_option("run", o->run, "A run's folder, or a checkpoint")->required();
  command->add_flag("--tensors", o->tensors, "List every parameter");
  command->add_flag("--json", o->json, "As JSON");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
