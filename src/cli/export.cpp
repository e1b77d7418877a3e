#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include <headway/jobs/exporter.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string model, out;
  bool json = false;
};

void run(const Options& o) {
  jobs::export_model(o.model, o.out);
  if (o.json) return put_json({{"folder", o.out}});
  put("{}\n", o.out);
}

}  // namespace

void add_export_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("export", "Write a model as a folder that transformers loads");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  command->add_option("out", o->out, "The new folder")->required();
  command->add_flag("--json", o->json, "One JSON object");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
