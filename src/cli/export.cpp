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
  std::string model, out, weights = "f16";
  bool json = false;
};

void run(const Options& o) {
  const bool gguf = o.out.ends_with(".gguf");
  if (gguf) {
    jobs::export_gguf(o.model, o.out, io::gguf_encoding(o.weights));
  } else {
    jobs::export_model(o.model, o.out);
  }
  if (o.json) return put_json({{gguf ? "file" : "folder", o.out}});
  put("{}\n", o.out);
}

}  // namespace

void add_export_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("export", "Write a model as a folder that transformers loads, or as a GGUF file");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  command->add_option("out", o->out, "The new folder, or a new file whose name ends in .gguf")->required();
  command->add_option("--weights", o->weights, "Of a GGUF file's matrices: f32, f16, bf16 or q8_0")
      ->capture_default_str();
  command->add_flag("--json", o->json, "One JSON object");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
