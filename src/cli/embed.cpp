#include <memory>

#include <fmt/format.h>

#include <headway/io/npy.h>
#include <headway/jobs/embedder.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string model, input, out, dtype = "float32", prompt;
  std::vector<std::string> texts;
  bool raw = false, json = false;
};

void run(const Options& o) {
  const jobs::Embedder embed(o.model, load_options(o.dtype));
  tell_notes(embed.model());
  const std::vector<std::string> texts = o.texts.empty() ? read_lines(o.input) : o.texts;
  JobProgress progress("embedding");
  jobs::EmbedOptions how{.prompt_name = o.prompt, .on_progress = progress.callback()};
  if (o.raw) how.normalize = false;
  const Tensor rows = embed(texts, how);
  if (embed.cut() > 0)
    complain(fmt::format("{} of {} texts have more than {} tokens and were cut", embed.cut(), texts.size(),
                         embed.max_length()));
  if (!o.out.empty()) {
    io::save_npy(o.out, rows);
    if (o.json) {
      return put_json(
          {{"file", o.out}, {"texts", rows.size(0)}, {"width", rows.size(1)}, {"cut", embed.cut()}});
    }
    return put("{}: {} texts, {} wide\n", o.out, rows.size(0), rows.size(1));
  }
  for (std::int64_t r = 0; r < rows.size(0); ++r) {
    nlohmann::ordered_json values = nlohmann::ordered_json::array();
    for (std::int64_t c = 0; c < rows.size(1); ++c)
      values.push_back(rows.data<float>()[r * rows.size(1) + c]);
    put_json({{"text", texts[static_cast<std::size_t>(r)]}, {"embedding", values}});
  }
}

}  // namespace

void add_embed_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("embed", "Texts to vectors: arguments, or lines of a file or of standard input");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  CLI::Option* texts = add_texts(*command, "texts", o->texts, "Texts to embed");
  command->add_option("--input", o->input, "File with one text a line (default: standard input)")
      ->excludes(texts);
  command->add_option("--out", o->out, "Write a .npy file, float32 [texts, width], in place of JSON lines");
  command->add_option("--prompt", o->prompt, "Name of one of the model's prompts, put before every text");
  command->add_flag("--raw", o->raw, "Do not normalize, even where the model's files say so");
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object a text, as without it; with --out, one of the file");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
