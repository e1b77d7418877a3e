#include <algorithm>
#include <sstream>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/core/version.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"

namespace headway::cli {
namespace {

// Exit codes: 0 done, 1 the work failed, 2 the command line is wrong (CLI11 chooses codes above 100 for
// that).
constexpr int kFailed = 1;
constexpr int kUsage = 2;

// Help and version are results like others; what is wrong with a command line is one line.
int explain(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, err;
  if (app.exit(error, out, err) == 0) {
    write_out(out.str());
    close_out();
    return 0;
  }
  std::string message = error.what();
  std::erase(message, '\x1F');  // of spell_arguments()
  complain(fmt::format("headway: {} (--help shows what there is)", printable(message, 400)));
  return kUsage;
}

int run(CLI::App& app, std::vector<std::string> arguments) {
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    app.parse(std::move(arguments));
    close_out();
    return 0;
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
}

int fail_with(const char* message) {
  try {
    flush_out();  // what there was before it
  } catch (const Error&) {
    // Either this is what is complained about, or there is something more important.
  }
  complain(fmt::format("headway: {}", message));
  return kFailed;
}

}  // namespace
}  // namespace headway::cli

int main(int argc, char** argv) {
  using namespace headway::cli;
  prepare_standard_files();
  CLI::App app{"Headway: train Transformers, translate with them, and see what every head looks at.",
               "headway"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("headway ") + headway::version());
  int threads = 0;
  add_number(app, "--threads", threads, whole(1, 1024), "Threads to use (default: all cores)");
  app.fallthrough();
  app.parse_complete_callback([&] {
    if (threads > 0) headway::set_threads(threads);
  });
  add_prepare_command(app);
  add_train_command(app);
  add_translate_command(app);
  add_evaluate_command(app);
  add_generate_command(app);
  add_chat_command(app);
  add_perplexity_command(app);
  add_embed_command(app);
  add_search_command(app);
  add_classify_command(app);
  add_export_command(app);
  add_inspect_command(app);
  add_compare_command(app);
  add_cost_command(app);
  add_explain_command(app);
  add_info_command(app);
  read_verbatim(app);
  try {
    return run(app, spell_arguments(argc, argv));
  } catch (const std::exception& error) {
    return fail_with(error.what());
  }
}
