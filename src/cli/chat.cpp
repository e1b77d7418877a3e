#include <memory>

#include <unistd.h>

#include <fmt/format.h>

#include <headway/jobs/chat.h>
#include <headway/text/line_reader.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options : WritingOptions {
  std::vector<std::string> messages;
  std::string system;
  bool json = false;
};

void answer(jobs::Chat& chat, const std::string& message, const jobs::WriteOptions& how, bool json) {
  const std::string reply = chat(message, how, [&](std::size_t, const std::string& piece) {
    if (!json) {
      write_out(piece);
      flush_out();
    }
    return true;
  });
  if (json) {
    put_json({{"user", message}, {"assistant", reply}, {"tokens", chat.tokens()}});
  } else {
    put("\n");
  }
  flush_out();
}

void run(const Options& o) {
  const jobs::Generator model(o.model, load_options(o.dtype));
  tell_notes(model.model());
  jobs::Chat chat(model, o.system);
  const jobs::WriteOptions how = write_options(o, model);
  for (const std::string& message : o.messages) answer(chat, message, how, o.json);
  if (!o.messages.empty()) return;
  const bool person = isatty(STDIN_FILENO) != 0;
  if (person) complain("One turn a line; Ctrl-D ends.");
  text::LineReader reader = text::LineReader::standard_input();
  for (std::string line; reader.next(line);) {
    if (line.empty()) continue;
    try {
      answer(chat, line, how, o.json);
    } catch (const Error& error) {
      if (!person || error.code() == ErrorCode::io) throw;
      complain(error.what());
    }
  }
}

}  // namespace

void add_chat_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("chat", "Talk with a model that was taught to: turns as arguments, or line by line");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  add_texts(*command, "messages", o->messages, "Turns of the user, answered in order");
  command->add_option("--system", o->system, "System prompt (default: the model's)");
  add_writing(*command, *o);
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object a turn");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
