#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/text/chrf.h>

#include "text/metric_input.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// The n-grams of one order, sorted: equal ones stand together, so two lists are intersected by one merge.
using Grams = std::vector<std::u32string>;

struct Profile {
  std::array<Grams, kChrfOrders> orders;
};

bool is_ascii_punctuation(char32_t c) {
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') ||
         (c >= U'{' && c <= U'~');
}

// One mark is cut from the end of a word, else one from its beginning, as chrF++.py does.
std::vector<std::u32string> chrf_words(std::u32string_view text) {
  std::vector<std::u32string> words;
  for (std::u32string& word : split_words(text)) {
    if (word.size() > 1 && is_ascii_punctuation(word.back())) {
      words.push_back(word.substr(0, word.size() - 1));
      words.push_back(word.substr(word.size() - 1));
    } else if (word.size() > 1 && is_ascii_punctuation(word.front())) {
      words.push_back(word.substr(0, 1));
      words.push_back(word.substr(1));
    } else {
      words.push_back(std::move(word));
    }
  }
  return words;
}

Profile profile_of(const std::string& sentence, const ChrfOptions& options) {
  const std::u32string text = to_utf32(options.lowercase ? lower(sentence) : sentence);
  std::u32string characters;
  for (const char32_t c : text) {
    if (options.whitespace || !is_python_space(c)) characters.push_back(c);
  }
  Profile profile;
  for (int order = 1; order <= options.char_order; ++order) {
    const auto n = static_cast<std::size_t>(order);
    Grams& grams = profile.orders[n - 1];
    for (std::size_t i = 0; i + n <= characters.size(); ++i) grams.push_back(characters.substr(i, n));
  }
  if (options.word_order > 0) {
    const auto words = chrf_words(text);
    for (int order = 1; order <= options.word_order; ++order) {
      const auto n = static_cast<std::size_t>(order);
      Grams& grams = profile.orders[static_cast<std::size_t>(options.char_order) + n - 1];
      for (std::size_t i = 0; i + n <= words.size(); ++i) {
        grams.push_back(n == 1 ? words[i] : words[i] + U' ' + words[i + 1]);
      }
    }
  }
  for (Grams& grams : profile.orders) std::sort(grams.begin(), grams.end());
  return profile;
}

// Σ min(count, count): the merge of two sorted lists pairs each occurrence with at most one other.
std::int64_t common(const Grams& a, const Grams& b) {
  std::int64_t count = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const int order = a[i].compare(b[j]);
    count += order == 0;
    i += order <= 0;
    j += order >= 0;
  }
  return count;
}

ChrfCounts compare(const Profile& hypothesis, const Profile& reference) {
  ChrfCounts counts;
  for (std::size_t n = 0; n < kChrfOrders; ++n) {
    const Grams& a = hypothesis.orders[n];
    const Grams& b = reference.orders[n];
    counts.hypothesis[n] = b.empty() ? 0 : static_cast<std::int64_t>(a.size());
    counts.reference[n] = static_cast<std::int64_t>(b.size());
    counts.matches[n] = common(a, b);
  }
  return counts;
}

void check_options(const ChrfOptions& options) {
  if (options.char_order < 1 || options.char_order > 6 || options.word_order < 0 || options.word_order > 2 ||
      options.beta < 1) {
    fail(ErrorCode::value, "chrf",
         fmt::format("char_order is {}, word_order {}, beta {}; want 1 to 6, 0 to 2, at least 1",
                     options.char_order, options.word_order, options.beta));
  }
}

}  // namespace

ChrfCounts& ChrfCounts::operator+=(const ChrfCounts& other) {
  for (std::size_t n = 0; n < kChrfOrders; ++n) {
    hypothesis[n] += other.hypothesis[n];
    reference[n] += other.reference[n];
    matches[n] += other.matches[n];
  }
  return *this;
}

std::vector<ChrfCounts> chrf_counts(const std::vector<std::string>& hypotheses, const References& references,
                                    const ChrfOptions& options) {
  check_options(options);
  check_metric_input(hypotheses, references, "chrf");
  std::vector<ChrfCounts> counts(hypotheses.size());
  core::parallel_for(static_cast<std::int64_t>(hypotheses.size()), [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const Profile hypothesis = profile_of(hypotheses[at], options);
    double best = -1;
    for (const auto& reference : references) {
      const ChrfCounts next = compare(hypothesis, profile_of(reference[at], options));
      const double score = chrf_score(next, options);
      if (score > best) {
        best = score;
        counts[at] = next;
      }
    }
  });
  return counts;
}

double chrf_score(const ChrfCounts& total, const ChrfOptions& options) {
  double precision = 0;
  double recall = 0;
  int orders = 0;
  for (std::size_t n = 0; n < kChrfOrders; ++n) {
    if (total.hypothesis[n] == 0 || total.reference[n] == 0) continue;
    precision += static_cast<double>(total.matches[n]) / static_cast<double>(total.hypothesis[n]);
    recall += static_cast<double>(total.matches[n]) / static_cast<double>(total.reference[n]);
    ++orders;
  }
  if (orders == 0 || precision + recall == 0) return 0;
  precision /= orders;
  recall /= orders;
  const double weight = static_cast<double>(options.beta) * options.beta;
  return 100 * (1 + weight) * precision * recall / (weight * precision + recall);
}

double corpus_chrf(const std::vector<std::string>& hypotheses, const References& references,
                   const ChrfOptions& options) {
  ChrfCounts total;
  for (const ChrfCounts& counts : chrf_counts(hypotheses, references, options)) total += counts;
  return chrf_score(total, options);
}

double sentence_chrf(const std::string& hypothesis, const std::vector<std::string>& references,
                     const ChrfOptions& options) {
  References lists;
  for (const std::string& reference : references) lists.push_back({reference});
  return corpus_chrf({hypothesis}, lists, options);
}

Interval chrf_interval(const std::vector<ChrfCounts>& sentences, const ChrfOptions& options,
                       const BootstrapOptions& bootstrap_options) {
  return bootstrap(sentences, bootstrap_options,
                   [&](const ChrfCounts& total) { return chrf_score(total, options); });
}

std::string chrf_signature(const ChrfOptions& options, std::size_t references,
                           const std::optional<BootstrapOptions>& bootstrap_options) {
  return fmt::format("{}|case:{}|eff:yes|nc:{}|nw:{}|space:{}{}",
                     signature_head(references, bootstrap_options), options.lowercase ? "lc" : "mixed",
                     options.char_order, options.word_order, options.whitespace ? "yes" : "no",
                     signature_tail());
}

std::string chrf_name(const ChrfOptions& options) {
  return fmt::format("chrF{}{}", options.beta,
                     std::string(static_cast<std::size_t>(options.word_order), '+'));
}

}  // namespace headway::inline v1::text
