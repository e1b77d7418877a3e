#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>
#include <headway/jobs/translator.h>
#include <headway/text/line_reader.h>
#include <headway/train/translator.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string run, input, task, dtype = "float32";
  std::vector<std::string> sentences;
  std::optional<std::int64_t> beam, top_k;
  std::optional<double> length_penalty, temperature, top_p;
  std::int64_t best = 1;
  std::uint64_t seed = 0;
  bool json = false;
};

bool draws(const Options& o) { return o.top_k || o.top_p || (o.temperature && *o.temperature > 0); }

// A translator trained here and one from a Hub folder have the same members but for these.
const models::DecodingOptions& defaults(const train::Translator& t) { return t.config().decoding; }
const models::DecodingOptions& defaults(const jobs::Translator& t) { return t.defaults(); }

template <typename Translator>
models::DecodingOptions decoding(const Options& o, const Translator& translator) {
  models::DecodingOptions out = defaults(translator);
  if (o.beam) out.beam_size = *o.beam;
  if (o.length_penalty) out.length_penalty = *o.length_penalty;
  if (o.temperature || draws(o)) out.beam_size = 1;  // of temperature 0: greedy
  if (draws(o)) {
    out.sampling = models::Sampling{.temperature = o.temperature.value_or(1),
                                    .top_k = o.top_k.value_or(0),
                                    .top_p = o.top_p.value_or(1),
                                    .seed = o.seed};
  }
  out.num_hypotheses = o.best;
  if (!out.sampling) out.beam_size = std::max(out.beam_size, o.best);
  return out;
}

// Sentences with their places, for errors.
struct Input {
  std::vector<std::string> sentences, places;
};

template <typename Translator>
void translate(const Options& o, const Translator& translator, const Input& input) {
  std::vector<std::vector<std::int32_t>> sources;
  for (std::size_t i = 0; i < input.sentences.size(); ++i)
    sources.push_back(translator.source_ids(input.sentences[i], input.places[i]));
  const auto results = translator.translations(std::move(sources), decoding(o, translator));
  for (std::size_t i = 0; i < results.size(); ++i) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const text::Translation& t : results[i]) {
      if (o.json)
        list.push_back({{"text", t.text}, {"score", t.score}, {"log_probability", t.log_probability}});
      else if (o.best > 1)
        put("{:.4f}\t{}\n", t.score, t.text);
      else
        put("{}\n", t.text);
    }
    if (o.json) put_json({{"source", input.sentences[i]}, {"translations", list}});
  }
  flush_out();
}

Input given_sentences(const Options& o) {
  Input input{o.sentences, {}};
  for (std::size_t i = 0; i < o.sentences.size(); ++i)
    input.places.push_back(fmt::format("sentence {}", i + 1));
  return input;
}

Input read_all(text::LineReader reader) {
  Input input;
  for (std::string line; reader.next(line);) {
    input.sentences.push_back(line);
    input.places.push_back(reader.place() + ",");
  }
  return input;
}

// Line by line, so that a pipe or a person gets each answer at once.
template <typename Translator>
void answer(const Options& o, const Translator& translator) {
  const bool person = isatty(STDIN_FILENO) != 0;
  if (person) complain("One sentence a line; Ctrl-D ends.");
  text::LineReader reader = text::LineReader::standard_input();
  for (bool more = true; more;) {
    try {
      std::string line;
      more = reader.next(line);
      if (more) translate(o, translator, Input{{line}, {reader.place() + ","}});
    } catch (const Error& error) {
      if (!person || error.code() == ErrorCode::io) throw;
      complain(error.what());
    }
  }
}

template <typename Translator>
void work(const Options& o, const Translator& translator) {
  if (!o.sentences.empty()) return translate(o, translator, given_sentences(o));
  if (!o.input.empty()) return translate(o, translator, read_all(text::LineReader(o.input)));
  answer(o, translator);
}

// A model of the Hub's: its file, its identity, or a folder whose configuration has a model_type, which a
// run's has not.
bool is_published(const std::string& spec) {
  const std::filesystem::path path(spec);
  if (!std::filesystem::exists(path))
    return std::ranges::count(spec, '/') == 1 && spec.front() != '.' && spec.front() != '/';
  const std::filesystem::path config = path / "config.json";
  if (!std::filesystem::is_directory(path))
    return path.extension() == ".gguf" || path.extension() == ".safetensors";
  return std::filesystem::exists(config) && io::read_file(config).find("\"model_type\"") != std::string::npos;
}

void run(const Options& o) {
  if (o.temperature && *o.temperature == 0 && o.best > 1) {
    fail(ErrorCode::value, "translate",
         fmt::format("--best is {} beside --temperature 0, which is greedy and has one translation", o.best));
  }
  if (is_published(o.run)) {
    const jobs::Translator translator(o.run, o.task, load_options(o.dtype));
    tell_notes(translator.model());
    return work(o, translator);
  }
  if (!o.task.empty()) {
    fail(ErrorCode::value, "translate",
         fmt::format("--task is {}, but {} is a run, which has one task; want a model of the Hub's",
                     quoted(o.task), o.run));
  }
  work(o, train::Translator::load(o.run));
}

}  // namespace

void add_translate_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("translate", "Translate arguments, a file, or standard input line by line");
  const auto o = std::make_shared<Options>();
  command
      ->add_option(
          "run", o->run,
          "A run's folder, a checkpoint, or a published encoder-decoder (folder or ORG/NAME): Marian, T5")
      ->required();
  command->add_option("--task", o->task, "Of a published model of several: its name in task_specific_params");
  CLI::Option* sentences = add_texts(*command, "sentences", o->sentences, "Sentences to translate");
  command
      ->add_option("--input", o->input,
                   "File with one sentence a line (all at once: faster than standard input)")
      ->excludes(sentences);
  CLI::Option* beam =
      add_number(*command, "--beam", o->beam, whole(1), "Beam size; 1 is greedy (default: the run's)");
  add_number(*command, "--length-penalty", o->length_penalty, from_zero(),
             "Exponent of the length (default: the run's)");
  add_number(*command, "--best", o->best, whole(1),
             "Translations of each sentence, best first, with their scores");
  CLI::Option* temperature = add_number(*command, "--temperature", o->temperature, from_zero(),
                                        "Draw instead of searching, flatter the higher; 0: greedy");
  CLI::Option* top_k =
      add_number(*command, "--top-k", o->top_k, whole(1), "Draw from the k most probable tokens");
  CLI::Option* top_p =
      add_number(*command, "--top-p", o->top_p, {.low = 0, .high = 1, .low_end = Range::End::open},
                 "Draw from the fewest tokens that hold this probability");
  for (CLI::Option* draw : {temperature, top_k, top_p}) draw->excludes(beam);
  add_number(*command, "--seed", o->seed, any_seed(), "Of the drawing");
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object a line");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
