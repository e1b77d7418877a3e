#include <memory>

#include <fmt/format.h>

#include <headway/jobs/searcher.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string model, folder, question, dtype = "float32";
  std::int64_t best = 5;
  bool json = false;
};

void run(const Options& o) {
  std::vector<jobs::Passage> passages = jobs::passages_of(o.folder);
  const jobs::Embedder embed(o.model, load_options(o.dtype));
  tell_notes(embed.model());
  JobProgress progress("embedding");
  const jobs::Searcher search(embed, std::move(passages), progress.callback());
  if (search.cut() > 0) {
    complain(fmt::format("{} of {} passages have more than {} tokens and were cut", search.cut(),
                         search.passages().size(), embed.max_length()));
  }
  for (const jobs::Searcher::Found& found : search(o.question, static_cast<std::size_t>(o.best))) {
    const jobs::Passage& passage = search.passages()[found.passage];
    if (o.json) {
      put_json({{"score", found.score},
                {"file", passage.file.string()},
                {"line", passage.line},
                {"text", passage.text}});
    } else {
      put("{:.4f}  {}:{}\n        {}\n", found.score, passage.file.string(), passage.line, passage.text);
    }
  }
}

}  // namespace

void add_search_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("search", "The passages of a folder of text that are closest to a question");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  command->add_option("folder", o->folder, "Folder with .txt, .md and .rst files, or one file")->required();
  command->add_option("question", o->question, "What to look for")->required();
  add_number(*command, "--best", o->best, whole(1), "Passages to show");
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object a passage");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
