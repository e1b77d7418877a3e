#include <memory>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string model, file, dtype = "float32";
  std::int64_t context = 0, stride = 0;
  bool json = false;
};

void run(const Options& o) {
  const jobs::Generator model(o.model, load_options(o.dtype));
  tell_notes(model.model());
  JobProgress progress("tokens");
  const jobs::Perplexity p = model.perplexity(read_text(o.file), o.context, o.stride, progress.callback());
  if (o.json) {
    return put_json({{"perplexity", p.perplexity},
                     {"loss", p.loss},
                     {"bits_per_byte", p.bits_per_byte},
                     {"tokens", p.tokens},
                     {"bytes", p.bytes}});
  }
  put("perplexity {:.4f}   loss {:.4f} a token   {:.4f} bits per byte   {} tokens, {} bytes\n", p.perplexity,
      p.loss, p.bits_per_byte, p.tokens, p.bytes);
}

}  // namespace

void add_perplexity_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("perplexity", "How well a language model foresees a text");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  command->add_option("file", o->file, "The text (- or nothing: standard input)");
  add_number(*command, "--context", o->context, whole(2),
             "Tokens that a window has (default: what the model takes)");
  add_number(*command, "--stride", o->stride, whole(1), "Tokens that it moves by (default: half of it)");
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
