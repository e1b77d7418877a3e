// bench_translation --run FOLDER --threads N
// bench_translation --job FOLDER --weights FILE --threads N     (config.json and tokenizer.model of a
// bench_training job)
//   a worker:
//   {"do": "model"} -> {"config": {...}, "vocabulary": [...], "weights": FILE}
//   {"do": "sources", "input": TSV} -> {"sources": [[ids], ...]} : its first column, end marks put on; kept
//   for the next
//   {"do": "translate", "beam": 4} -> {"seconds": ..., "outputs": [[ids], ...]} : from ids to ids; loading is
//   not in it
//   {"do": "score", "targets": [[ids], ...]} -> {"log_probabilities": [[of tokens and end mark], ...]}
//   {"do": "text", "beam": 4} -> {"lines": [...]}
#include <cmath>
#include <filesystem>

#include <headway/autograd/tape.h>
#include <headway/core/parallel.h>
#include <headway/io/atomic_file.h>
#include <headway/models/decoding.h>
#include <headway/nn/serialize.h>
#include <headway/ops/loss.h>
#include <headway/text/readers.h>
#include <headway/train/checkpoint.h>
#include <headway/train/translation.h>

#include "support/worker.h"

namespace headway::bench {
namespace {

using Sentences = std::vector<std::vector<std::int32_t>>;

train::Translator load(const Arguments& arguments) {
  const std::filesystem::path job = arguments.text("job", "");
  if (job.empty()) return train::Translator::load(arguments.text("run"));
  const auto path = job / "config.json";
  train::TranslationConfig config = train::translation_config_from_json(io::read_file(path), path.string());
  Generator unused;
  auto model = std::make_unique<models::Transformer>(config.model, unused);
  io::load(*model, arguments.text("weights"));
  return {std::move(config), text::Tokenizer::load(job / "tokenizer.model"), std::move(model)};
}

class Side {
 public:
  explicit Side(const Arguments& arguments) : translator_(load(arguments)) {
    weights_ = arguments.text("job", "").empty()
                   ? train::weights_in(train::find_checkpoint(arguments.text("run"))).string()
                   : arguments.text("weights");
  }

  Json answer(const Json& request) {
    const std::string what = request.at("do");
    if (what == "model") return model();
    if (what == "sources") return sources(request.at("input").get<std::string>());
    if (what == "score") return {{"log_probabilities", scores(request.at("targets").get<Sentences>())}};
    const double begin = now();
    const Sentences outputs = translate(request.at("beam").get<std::int64_t>());
    const double seconds = now() - begin;
    if (what != "text") return {{"seconds", seconds}, {"outputs", outputs}};
    Json lines = Json::array();
    for (const auto& ids : outputs) lines.push_back(translator_.tokenizer().decode(ids));
    return {{"lines", lines}};
  }

 private:
  Json model() const {
    Json pieces = Json::array();
    for (std::int32_t id = 0; id < translator_.tokenizer().vocab_size(); ++id) {
      pieces.push_back(translator_.tokenizer().piece(id));
    }
    return {{"config", Json::parse(train::to_json(translator_.config()))},
            {"vocabulary", pieces},
            {"weights", weights_}};
  }

  Json sources(const std::string& path) {
    sources_.clear();
    for (const text::Pair& pair : text::read_tsv(path))
      sources_.push_back(translator_.source_ids(pair.source));
    return {{"sources", sources_}};
  }

  // Length limits that both sides have.
  Sentences translate(std::int64_t beam) {
    models::DecodingOptions options{
        .beam_size = beam, .max_length = 256, .max_length_factor = 0, .max_length_extra = 0};
    return models::translate(translator_.model(), sources_, options);
  }

  std::vector<std::vector<float>> scores(const Sentences& targets) {
    if (targets.size() != sources_.size()) fail(ErrorCode::value, "score", "want a target for each source");
    const NoGrad no_grad;
    models::Transformer& model = translator_.model();
    std::vector<std::vector<float>> out;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const train::Batch b =
          train::make_batch({{sources_[i], targets[i]}}, {0}, {.bos = text::kBos, .eos = text::kEos});
      const Tensor memory = model.encode(b.source, b.source_offsets);
      const Tensor hidden = model.decode(b.target_in, {b.target_offsets, memory, b.source_offsets});
      const TokenScores tokens = token_scores(model.logits(hidden), b.target_out);
      const auto* each = tokens.log_probability.data<float>();
      out.emplace_back(each, each + b.tokens());
    }
    return out;
  }

  train::Translator translator_;
  std::string weights_;
  Sentences sources_;
};

}  // namespace
}  // namespace headway::bench

int main(int argc, char** argv) {
  using namespace headway::bench;
  const Arguments arguments(argc, argv);
  return guarded([&] {
    headway::set_threads(static_cast<int>(arguments.number("threads", 1)));
    Side side(arguments);
    while (const auto request = next_request()) answer(side.answer(*request));
  });
}
