#include <iostream>
#include <memory>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/text/readers.h>
#include <headway/train/translator.h>

#include "cli/commands.h"

namespace headway::cli {
namespace {

struct Options {
  std::string run, input, output;
  std::vector<std::string> sentences;
  std::int64_t beam = 0, best = 1, top_k = 0;
  double length_penalty = -1, temperature = 0, top_p = 1;
  std::uint64_t seed = 0;
  bool json = false;
};

models::DecodingOptions decoding(const Options& o, const train::Translator& translator) {
  models::DecodingOptions out = translator.config().decoding;
  if (o.beam > 0) out.beam_size = o.beam;
  if (o.length_penalty >= 0) out.length_penalty = o.length_penalty;
  if (o.temperature > 0 || o.top_k > 0 || o.top_p < 1) {
    out.beam_size = 1;
    out.sampling = models::Sampling{.temperature = o.temperature > 0 ? o.temperature : 1,
                                    .top_k = o.top_k,
                                    .top_p = o.top_p,
                                    .seed = o.seed};
  }
  out.num_hypotheses = o.best;
  if (!out.sampling) out.beam_size = std::max(out.beam_size, o.best);
  return out;
}

void print(const Options& o, const train::Translator& translator, const std::vector<std::string>& sentences,
           std::ostream& out) {
  const models::DecodingOptions options = decoding(o, translator);
  if (!o.json && o.best == 1) {
    for (const std::string& line : translator.translate(sentences, options)) out << line << '\n';
    out.flush();
    return;
  }
  std::vector<std::vector<std::int32_t>> sources;
  for (const std::string& sentence : sentences) sources.push_back(translator.source_ids(sentence));
  const auto hypotheses = models::decode(translator.model(), sources, options);
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const models::Hypothesis& h : hypotheses[i]) {
      const std::string text = translator.tokenizer().decode(h.tokens);
      list.push_back({{"text", text}, {"score", h.score}, {"log_probability", h.log_probability}});
      if (!o.json) out << fmt::format("{:.4f}\t{}\n", h.score, text);
    }
    if (o.json)
      out << nlohmann::ordered_json{{"source", sentences[i]}, {"translations", list}}.dump() << '\n';
  }
  out.flush();
}

void run(const Options& o) {
  const train::Translator translator = train::Translator::load(o.run);
  if (!o.sentences.empty()) return print(o, translator, o.sentences, std::cout);
  if (!o.input.empty()) return print(o, translator, text::read_sentences(o.input), std::cout);
  const bool person = isatty(STDIN_FILENO) != 0;
  if (person) std::cerr << "One sentence a line; Ctrl-D ends.\n";
  // Line by line, so that a pipe or a person gets each answer at once.
  for (std::string line; std::getline(std::cin, line);) {
    try {
      print(o, translator, {line}, std::cout);
    } catch (const Error& error) {
      if (!person) throw;
      std::cerr << error.what() << '\n';
    }
  }
}

}  // namespace

void add_translate_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("translate", "Translate arguments, a file, or standard input line by line");
  const auto o = std::make_shared<Options>();
  command->add_option("run", o->run, "A run's folder, or a checkpoint")->required();
  command->add_option("sentences", o->sentences, "Sentences to translate");
  command->add_option("--input", o->input,
                      "File with one sentence a line (all at once: faster than standard input)");
  command->add_option("--beam", o->beam, "Beam size; 1 is greedy (default: the run's)")
      ->check(CLI::PositiveNumber);
  command->add_option("--length-penalty", o->length_penalty, "Exponent of the length (default: the run's)");
  command->add_option("--best", o->best, "Translations of each sentence, best first, with their scores")
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", o->temperature, "Draw instead of searching");
  command->add_option("--top-k", o->top_k, "Draw from the k most probable tokens");
  command->add_option("--top-p", o->top_p, "Draw from the fewest tokens that hold this probability");
  command->add_option("--seed", o->seed, "Of the drawing");
  command->add_flag("--json", o->json, "One JSON object a line");
  command->callback([o] { run(*o); });
}

}  // namespace headway::cli
