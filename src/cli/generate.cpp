#include <memory>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options : WritingOptions {
  std::vector<std::string> prompts;
  std::string input;
  bool lines = false, json = false;
};

void run(const Options& o) {
  const jobs::Generator model(o.model, load_options(o.dtype));
  tell_notes(model.model());
  std::vector<std::string> prompts = o.prompts;
  if (prompts.empty()) {
    if (o.lines) {
      prompts = read_lines(o.input);
    } else {
      prompts = {read_text(o.input)};
      // The end of the file's last line is not the text's.
      if (prompts[0].ends_with('\n')) prompts[0].pop_back();
      if (prompts[0].ends_with('\r')) prompts[0].pop_back();
    }
  }
  const jobs::WriteOptions how = write_options(o, model);
  if (!o.json && prompts.size() == 1) {  // as it is written
    model(prompts[0], how, [](std::size_t, const std::string& piece) {
      write_out(piece);
      flush_out();
      return true;
    });
    return put("\n");
  }
  JobProgress progress("generating");
  std::int64_t pieces = 0;
  const std::vector<std::string> texts =
      model(prompts, how, [&, tell = progress.callback()](std::size_t, const std::string&) {
        tell(++pieces, 0);
        return true;
      });
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (o.json) {
      put_json({{"prompt", prompts[i]}, {"text", texts[i]}});
    } else {
      put("{}\n", texts[i]);
    }
  }
}

}  // namespace

void add_generate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Go on with a text, or with each of several");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  CLI::Option* prompts = add_texts(*command, "prompts", o->prompts, "Texts to go on with (default: --input)");
  command->add_option("--input", o->input, "File with the text (default: standard input)")->excludes(prompts);
  command->add_flag("--lines", o->lines, "Every line of the input is a text of its own")->excludes(prompts);
  add_writing(*command, *o);
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object a text");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
