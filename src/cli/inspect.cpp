#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/inspect/alignment.h>
#include <headway/inspect/page.h>
#include <headway/inspect/picture.h>
#include <headway/models/decoding.h>
#include <headway/ops/views.h>
#include <headway/train/checkpoint.h>
#include <headway/train/translator.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"

namespace headway::cli {
namespace {

struct Options {
  std::string run, out, picture;
  std::vector<std::string> sentences;
  bool json = false;
};

std::vector<std::string> pieces_of(const text::Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  std::vector<std::string> pieces;
  for (const std::int32_t id : ids) pieces.push_back(tokenizer.piece(id));
  return pieces;
}

inspect::PageExample look(const train::Translator& translator, const std::string& sentence,
                          const std::string& place) {
  const models::DecodingOptions& decoding = translator.config().decoding;
  const text::Tokenizer& tokenizer = translator.tokenizer();
  const std::vector<std::int32_t> source = translator.source_ids(sentence, place);
  if (source.size() == 1)  // the end mark alone
    fail(ErrorCode::value, "inspect", fmt::format("{} is {}; want some text", place, quoted(sentence)));
  const std::vector<std::int32_t> best = models::translate(translator.model(), {source}, decoding)[0];
  std::vector<std::int32_t> read = best;
  read.insert(read.begin(), decoding.bos);
  std::vector<std::int32_t> written = best;
  written.push_back(decoding.eos);
  return {.source = sentence,
          .translation = tokenizer.decode(best),
          .source_tokens = pieces_of(tokenizer, source),
          .target_tokens = pieces_of(tokenizer, read),
          .target_written = pieces_of(tokenizer, written),
          .maps = translator.model().inspect_attention(source, read)};
}

// A checkpoint's folder never changes once it is written; a run's folder takes the page.
std::filesystem::path default_page(const std::filesystem::path& run) {
  namespace fs = std::filesystem;
  return fs::equivalent(train::find_checkpoint(run), run) ? fs::path("heads.html") : run / "heads.html";
}

void print_json(const std::vector<inspect::PageExample>& examples,
                const std::vector<inspect::HeadAlignment>& alignments, const std::filesystem::path& page) {
  nlohmann::ordered_json sentences = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const inspect::PageExample& example = examples[i];
    nlohmann::ordered_json links = nlohmann::ordered_json::array();
    for (const inspect::WordLink& link : alignments[i].links) {
      links.push_back({{"source", link.source}, {"target", link.target}, {"weight", link.weight}});
    }
    sentences.push_back({{"source", example.source},
                         {"translation", example.translation},
                         {"source_tokens", example.source_tokens},
                         {"target_tokens", example.target_written},
                         {"links", links}});
  }
  const nlohmann::ordered_json out{{"format_version", 1},
                                   {"page", page.string()},
                                   {"layer", alignments[0].layer + 1},
                                   {"head", alignments[0].head + 1},
                                   {"peak", alignments[0].peak},
                                   {"sentences", sentences}};
  put_json(out);
}

// The most peaked cross-attention head.
void draw(const std::filesystem::path& file, const inspect::PageExample& example,
          const inspect::HeadAlignment& head) {
  const Tensor& layer = example.maps.cross[static_cast<std::size_t>(head.layer)];
  const Tensor weights = reshape(slice(layer, 0, head.head, head.head + 1), {layer.size(1), layer.size(2)});
  inspect::write_head_picture(
      file, weights,
      {.title = fmt::format("Cross-attention, decoder layer {}, head {}", head.layer + 1, head.head + 1),
       .rows = example.target_written,
       .columns = example.source_tokens});
}

void run(const Options& o) {
  const train::Translator translator = train::Translator::load(o.run);
  std::vector<inspect::PageExample> examples;
  std::vector<inspect::AlignmentInput> inputs;
  for (std::size_t i = 0; i < o.sentences.size(); ++i) {
    examples.push_back(look(translator, o.sentences[i], fmt::format("sentence {}", i + 1)));
    const inspect::PageExample& example = examples.back();
    inputs.push_back({example.source_tokens, example.target_written, example.maps.cross});
  }
  const std::filesystem::path page = o.out.empty() ? default_page(o.run) : std::filesystem::path(o.out);
  const models::TransformerOptions& model = translator.model().options();
  const auto alignments = inspect::best_alignment(inputs);
  inspect::write_heads_page(
      page, examples,
      {.subtitle = fmt::format("{}: {} encoder and {} decoder layers of {} heads", printable(o.run),
                               model.encoder_layers, model.decoder_layers, model.heads),
       .layer = alignments[0].layer,
       .head = alignments[0].head});
  if (!o.picture.empty()) draw(o.picture, examples[0], alignments[0]);
  if (o.json) return print_json(examples, alignments, page);
  for (std::size_t i = 0; i < examples.size(); ++i) {
    put("{}  →  {}\n", examples[i].source, examples[i].translation);
    std::string links;
    for (const auto& link : alignments[i].links) links += fmt::format("  {} → {}", link.source, link.target);
    put("decoder {}, head {}:{}\n", alignments[i].layer + 1, alignments[i].head + 1,
        links.empty() ? "  looks at no single word" : links);
  }
  put("Open {}\n", page.string());
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Show what every head looks at while it translates");
  command->add_option("run", options->run, "A run's folder, or a checkpoint")->required();
  add_texts(*command, "sentences", options->sentences, "Sentences to translate and look at")->required();
  command->add_option("--out", options->out, "The page to write (default: heads.html in the run's folder)");
  command->add_option("--picture", options->picture,
                      "Also draw the first sentence's most peaked head as SVG");
  command->add_flag("--json", options->json, "Print the most peaked head's word links as JSON");
  command->callback([options] { run(*options); });
}

}  // namespace headway::cli
