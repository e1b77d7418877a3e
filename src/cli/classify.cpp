#include <memory>

#include <fmt/format.h>

#include <headway/jobs/classifier.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string model, input, shots, dtype = "float32";
  std::vector<std::string> inputs;
  std::int64_t best = 1;
  bool pairs = false, json = false;
};

std::pair<std::string, std::string> halves(const std::string& line, const char* what) {
  const std::size_t tab = line.find('\t');
  if (tab == std::string::npos)
    fail(ErrorCode::format, "classify", fmt::format("{} has no tab: {}", what, quoted(line)));
  return {line.substr(0, tab), line.substr(tab + 1)};
}

std::vector<jobs::Classified> classify(const Options& o, const std::vector<std::string>& inputs,
                                       const jobs::OnProgress& on_progress) {
  if (!o.shots.empty()) {
    std::vector<jobs::Shot> shots;
    for (const std::string& line : read_lines(o.shots)) {
      if (line.empty()) continue;
      const auto [text, label] = halves(line, "an example");
      shots.push_back({text, label});
    }
    const jobs::Generator model(o.model, load_options(o.dtype));
    tell_notes(model.model());
    return jobs::classify_by_examples(model, shots, inputs, on_progress);
  }
  const jobs::Classifier model(o.model, load_options(o.dtype));
  tell_notes(model.model());
  std::vector<jobs::Classified> out;
  if (o.pairs) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const std::string& line : inputs) pairs.push_back(halves(line, "a pair"));
    out = model.pairs(pairs, on_progress);
  } else if (model.takes_images()) {
    return model.images({inputs.begin(), inputs.end()}, on_progress);
  } else {
    out = model.texts(inputs, on_progress);
  }
  if (model.cut() > 0)
    complain(fmt::format("{} of {} texts were cut to what the model takes", model.cut(), inputs.size()));
  return out;
}

void run(const Options& o) {
  const std::vector<std::string> inputs = o.inputs.empty() ? read_lines(o.input) : o.inputs;
  JobProgress progress("classifying");
  const std::vector<jobs::Classified> results = classify(o, inputs, progress.callback());
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::size_t count = std::min(results[i].classes.size(), static_cast<std::size_t>(o.best));
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    std::string line;
    for (std::size_t k = 0; k < count; ++k) {
      const auto& [name, probability] = results[i].classes[k];
      list.push_back({{"label", name}, {"probability", probability}});
      line += fmt::format("{}{} {:.4f}", k ? "\t" : "", name, probability);
    }
    if (o.json) {
      put_json({{"input", inputs[i]}, {"classes", list}});
    } else {
      put("{}\n", line);
    }
  }
}

}  // namespace

void add_classify_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("classify", "Texts, pairs of texts or images to classes");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  CLI::Option* inputs = add_texts(*command, "inputs", o->inputs, "Texts, or image files for a vision model");
  command->add_option("--input", o->input, "File with one of them a line (default: standard input)")
      ->excludes(inputs);
  CLI::Option* pairs =
      command->add_flag("--pairs", o->pairs, "Every input is two texts, with a tab between them");
  command
      ->add_option("--shots", o->shots,
                   "File of examples, TEXT<tab>LABEL: a language model classifies by likelihood (few-shot)")
      ->excludes(pairs);
  add_number(*command, "--best", o->best, whole(1), "Classes to show of each");
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object an input");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
