#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/core/version.h>

#include "cli/commands.h"

namespace {

// Exit codes: 0 done, 1 the work failed, 2 the command line is wrong (CLI11 chooses codes above 100 for
// that).
constexpr int kFailed = 1;
constexpr int kUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);  // `headway … | head` ends quietly
  CLI::App app{"Headway: train Transformers, translate with them, and see what every head looks at.",
               "headway"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("headway ") + headway::version());
  int threads = 0;
  app.add_option("--threads", threads, "Threads to use (default: all cores)")->check(CLI::PositiveNumber);
  app.fallthrough();
  app.parse_complete_callback([&] {
    if (threads > 0) headway::set_threads(threads);
  });
  headway::cli::add_prepare_command(app);
  headway::cli::add_train_command(app);
  headway::cli::add_translate_command(app);
  headway::cli::add_evaluate_command(app);
  headway::cli::add_inspect_command(app);
  headway::cli::add_compare_command(app);
  headway::cli::add_cost_command(app);
  headway::cli::add_explain_command(app);
  headway::cli::add_info_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const headway::Error& error) {
    fmt::print(stderr, "headway: {}\n", error.what());
    return kFailed;
  } catch (const std::exception& error) {
    fmt::print(stderr, "headway: {}\n", error.what());
    return kFailed;
  }
  return std::fflush(stdout) == 0 ? 0 : kFailed;
}
