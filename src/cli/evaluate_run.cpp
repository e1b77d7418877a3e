#include "cli/evaluate_run.h"
#include "cli/output.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/text/bleu.h>
#include <headway/text/chrf.h>
#include <headway/text/prepared.h>
#include <headway/text/split.h>
#include <headway/train/translation.h>

namespace headway::cli {
namespace {

struct Scored {
  double score = 0;
  text::Interval interval;
};

Scored score(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
             const text::BootstrapOptions& bootstrap) {
  const auto counts = text::bleu_counts(hypotheses, {references});
  text::BleuCounts total;
  for (const auto& sentence : counts) total += sentence;
  return {text::bleu_score(total).score, text::bleu_interval(counts, {}, bootstrap)};
}

// Which sentences to show: the best, the median and the worst by their own BLEU, of those with at least four
// words, so that luck with a single word is not the best.
std::vector<std::pair<std::string, std::size_t>> telling(const std::vector<std::string>& hypotheses,
                                                         const std::vector<std::string>& references,
                                                         int count) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    if (std::count(references[i].begin(), references[i].end(), ' ') < 3) continue;
    order.emplace_back(text::sentence_bleu(hypotheses[i], {references[i]}).score, i);
  }
  std::sort(order.begin(), order.end(), std::greater<>());
  if (order.empty() || count <= 0) return {};
  std::vector<std::pair<std::string, std::size_t>> shown{{"best", order.front().second}};
  if (count >= 3) shown.emplace_back("median", order[order.size() / 2].second);
  if (count >= 2) shown.emplace_back("worst", order.back().second);
  return shown;
}

}  // namespace

void evaluate_run(const RunEvaluation& o) {
  const train::Translator translator = train::Translator::load(o.run);
  const text::PreparedCorpus corpus = text::read_corpus(o.data);
  std::vector<std::string> sources, references;
  for (const text::Pair& pair : corpus.test) {
    sources.push_back(pair.source);
    references.push_back(pair.target);
  }
  models::DecodingOptions decoding = translator.config().decoding;
  if (o.beam > 0) decoding.beam_size = o.beam;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t i = 0; i < sources.size(); ++i)
    ids.push_back(translator.source_ids(sources[i], fmt::format("{}/test.tsv, line {},", o.data, i + 1)));
  std::vector<std::string> outputs;
  for (const auto& best_first : translator.translations(std::move(ids), decoding))
    outputs.push_back(best_first.front().text);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  const text::BootstrapOptions bootstrap{o.bootstrap, o.seed};
  const Scored bleu = score(outputs, references, bootstrap);
  const double chrf = text::corpus_chrf(outputs, {references});
  const train::TokenMetrics tokens =
      train::token_metrics(translator.model(), train::encode_pairs(translator.tokenizer(), corpus.test), {});
  const std::string signature = text::bleu_signature({}, 1, bootstrap);
  Scored copy;
  if (o.copy_baseline)
    copy = score(text::nearest_copy_baseline(corpus.train, corpus.test), references, bootstrap);

  if (o.json) {
    nlohmann::ordered_json out{{"sentences", sources.size()},     {"bleu", bleu.score},
                               {"bleu_low", bleu.interval.low},   {"bleu_high", bleu.interval.high},
                               {"signature", signature},          {"chrf2", chrf},
                               {"perplexity", tokens.perplexity}, {"accuracy", tokens.accuracy},
                               {"beam", decoding.beam_size},      {"seconds", seconds}};
    if (o.copy_baseline) out["copy_bleu"] = copy.score;
    put_json(out);
    return;
  }
  put("      BLEU {:.1f} ± {:.1f} on {} sentences of unseen pages", bleu.score, bleu.interval.half_width(),
      sources.size());
  if (o.copy_baseline)
    put("   copying the nearest training sentence: {:.1f} ± {:.1f}", copy.score, copy.interval.half_width());
  put("\n      {}\n", signature);
  put("      chrF2 {:.1f}   perplexity {:.2f}   token accuracy {:.1f} %   beam {}, {:.0f} sentences/s\n",
      chrf, tokens.perplexity, 100 * tokens.accuracy, decoding.beam_size,
      static_cast<double>(sources.size()) / seconds);
  for (const auto& [label, i] : telling(outputs, references, o.examples)) {
    put("      {:<7} source     {}\n              reference  {}\n              output     {}\n", label,
        sources[i], references[i], outputs[i]);
  }
}

}  // namespace headway::cli
