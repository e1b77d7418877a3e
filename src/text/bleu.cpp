#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <unordered_map>

#include <headway/core/parallel.h>
#include <headway/text/bleu.h>

#include "text/metric_input.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// An n-gram as the numbers of its words, 0 where it is shorter than four; words are numbered from 1 within a
// sentence.
using Gram = std::array<std::int32_t, kBleuOrder>;
using GramCounts = std::map<Gram, std::int64_t>;
using Numbers = std::unordered_map<std::string, std::int32_t>;

std::vector<std::int32_t> number_words(std::string_view sentence, const BleuOptions& options,
                                       Numbers& numbers) {
  std::u32string text = to_utf32(options.lowercase ? lower(sentence) : std::string(sentence));
  while (!text.empty() && is_python_space(text.back())) text.pop_back();
  const std::string tokens = bleu_tokenize(to_utf8(text), options.tokenizer);
  std::vector<std::int32_t> words;
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t end = std::min(tokens.find(' ', begin), tokens.size());
    const auto next = static_cast<std::int32_t>(numbers.size() + 1);
    words.push_back(numbers.try_emplace(tokens.substr(begin, end - begin), next).first->second);
    begin = end + 1;
  }
  return words;
}

GramCounts count_grams(const std::vector<std::int32_t>& words) {
  GramCounts counts;
  for (std::size_t begin = 0; begin < words.size(); ++begin) {
    Gram gram{};
    for (std::size_t n = 0; n < kBleuOrder && begin + n < words.size(); ++n) {
      gram[n] = words[begin + n];
      ++counts[gram];
    }
  }
  return counts;
}

std::size_t order_of(const Gram& gram) {
  return static_cast<std::size_t>(std::find(gram.begin(), gram.end(), 0) - gram.begin());
}

BleuCounts count_sentence(std::size_t i, const std::vector<std::string>& hypotheses,
                          const References& references, const BleuOptions& options) {
  Numbers numbers;
  BleuCounts counts;
  const auto hypothesis = number_words(hypotheses[i], options, numbers);
  counts.hypothesis_length = static_cast<std::int64_t>(hypothesis.size());
  GramCounts allowed;  // of each n-gram as many as the reference that has most of it
  std::int64_t closest = -1;
  for (const auto& reference : references) {
    const auto words = number_words(reference[i], options, numbers);
    const auto length = static_cast<std::int64_t>(words.size());
    const std::int64_t distance = std::abs(length - counts.hypothesis_length);
    if (closest < 0 || distance < closest || (distance == closest && length < counts.reference_length)) {
      closest = distance;
      counts.reference_length = length;
    }
    for (const auto& [gram, count] : count_grams(words)) {
      std::int64_t& most = allowed[gram];
      most = std::max(most, count);
    }
  }
  for (const auto& [gram, count] : count_grams(hypothesis)) {
    const std::size_t n = order_of(gram) - 1;
    counts.totals[n] += count;
    const auto found = allowed.find(gram);
    if (found != allowed.end()) counts.matches[n] += std::min(count, found->second);
  }
  return counts;
}

double smooth_value(const BleuOptions& options) {
  return options.smooth_value.value_or(options.smoothing == BleuSmoothing::floor ? 0.1 : 1.0);
}

}  // namespace

BleuCounts& BleuCounts::operator+=(const BleuCounts& other) {
  hypothesis_length += other.hypothesis_length;
  reference_length += other.reference_length;
  for (std::size_t n = 0; n < kBleuOrder; ++n) {
    matches[n] += other.matches[n];
    totals[n] += other.totals[n];
  }
  return *this;
}

std::string BleuScore::details() const {
  const auto hypothesis = static_cast<double>(counts.hypothesis_length);
  const auto reference = static_cast<double>(counts.reference_length);
  return fmt::format("{:.1f}/{:.1f}/{:.1f}/{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} ref_len = {})",
                     precisions[0], precisions[1], precisions[2], precisions[3], brevity_penalty,
                     reference > 0 ? hypothesis / reference : 0.0, counts.hypothesis_length,
                     counts.reference_length);
}

std::vector<BleuCounts> bleu_counts(const std::vector<std::string>& hypotheses, const References& references,
                                    const BleuOptions& options) {
  check_metric_input(hypotheses, references, "bleu");
  std::vector<BleuCounts> counts(hypotheses.size());
  core::parallel_for(static_cast<std::int64_t>(hypotheses.size()), [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    counts[at] = count_sentence(at, hypotheses, references, options);
  });
  return counts;
}

BleuScore bleu_score(const BleuCounts& total, const BleuOptions& options) {
  BleuScore out;
  out.counts = total;
  const auto c = static_cast<double>(total.hypothesis_length);
  const auto r = static_cast<double>(total.reference_length);
  if (c < r) out.brevity_penalty = c > 0 ? std::exp(1 - r / c) : 0;
  if (std::all_of(total.matches.begin(), total.matches.end(),
                  [](std::int64_t count) { return count == 0; })) {
    return out;
  }
  double halving = 1;
  int orders = kBleuOrder;
  for (std::size_t n = 0; n < kBleuOrder; ++n) {
    auto matches = static_cast<double>(total.matches[n]);
    auto count = static_cast<double>(total.totals[n]);
    if (options.smoothing == BleuSmoothing::add_k && n > 0) {
      matches += smooth_value(options);
      count += smooth_value(options);
    }
    if (count == 0) break;
    if (options.effective_order) orders = static_cast<int>(n) + 1;
    if (matches > 0) {
      out.precisions[n] = 100 * matches / count;
    } else if (options.smoothing == BleuSmoothing::exp) {
      halving *= 2;
      out.precisions[n] = 100 / (halving * count);
    } else if (options.smoothing == BleuSmoothing::floor) {
      out.precisions[n] = 100 * smooth_value(options) / count;
    }
  }
  double logs = 0;
  for (int n = 0; n < orders; ++n) {
    const double p = out.precisions[static_cast<std::size_t>(n)];
    if (p <= 0) return out;  // ln 0: the product is 0
    logs += std::log(p);
  }
  out.score = out.brevity_penalty * std::exp(logs / orders);
  return out;
}

BleuScore corpus_bleu(const std::vector<std::string>& hypotheses, const References& references,
                      const BleuOptions& options) {
  BleuCounts total;
  for (const BleuCounts& counts : bleu_counts(hypotheses, references, options)) total += counts;
  return bleu_score(total, options);
}

BleuScore sentence_bleu(const std::string& hypothesis, const std::vector<std::string>& references,
                        BleuOptions options) {
  options.effective_order = true;
  References lists;
  for (const std::string& reference : references) lists.push_back({reference});
  return corpus_bleu({hypothesis}, lists, options);
}

Interval bleu_interval(const std::vector<BleuCounts>& sentences, const BleuOptions& options,
                       const BootstrapOptions& bootstrap_options) {
  return bootstrap(sentences, bootstrap_options,
                   [&](const BleuCounts& total) { return bleu_score(total, options).score; });
}

std::string bleu_signature(const BleuOptions& options, std::size_t references,
                           const std::optional<BootstrapOptions>& bootstrap_options) {
  std::string smooth(name_of(options.smoothing));
  if (options.smoothing == BleuSmoothing::floor || options.smoothing == BleuSmoothing::add_k) {
    smooth += fmt::format("[{:.2f}]", smooth_value(options));
  }
  return fmt::format("{}|case:{}|eff:{}|tok:{}|smooth:{}{}", signature_head(references, bootstrap_options),
                     options.lowercase ? "lc" : "mixed", options.effective_order ? "yes" : "no",
                     name_of(options.tokenizer), smooth, signature_tail());
}

}  // namespace headway::inline v1::text
