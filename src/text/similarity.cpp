#include <algorithm>
#include <limits>
#include <unordered_map>

#include <headway/core/parallel.h>
#include <headway/text/corpus.h>
#include <headway/text/similarity.h>

#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// The distinct words of a folded sentence with their numbers of occurrences.
struct Bag {
  std::vector<std::pair<std::string, int>> words;
  int size = 0;
};

Bag bag_of(const std::string& folded) {
  std::vector<std::string> words;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (std::size_t at = 0; at < folded.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(folded, at);
    if (is_letter(c) || is_number(c) || is_mark(c)) {
      word.append(folded, begin, at - begin);
    } else {
      finish();
    }
  }
  finish();
  Bag bag;
  bag.size = static_cast<int>(words.size());
  std::sort(words.begin(), words.end());
  for (std::string& next : words) {
    if (!bag.words.empty() && bag.words.back().first == next) {
      ++bag.words.back().second;
    } else {
      bag.words.emplace_back(std::move(next), 1);
    }
  }
  return bag;
}

double dice(int common, int a, int b) { return 2.0 * common / (a + b); }

}  // namespace

double similarity(std::string_view a, std::string_view b) {
  const std::string folded_a = fold(a);
  const std::string folded_b = fold(b);
  const Bag left = bag_of(folded_a);
  const Bag right = bag_of(folded_b);
  if (left.size == 0 && right.size == 0) return folded_a == folded_b ? 1 : 0;
  int common = 0;
  auto other = right.words.begin();
  for (const auto& [word, count] : left.words) {
    while (other != right.words.end() && other->first < word) ++other;
    if (other != right.words.end() && other->first == word) common += std::min(count, other->second);
  }
  return dice(common, left.size, right.size);
}

struct SimilarityIndex::Impl {
  struct Posting {
    std::int32_t sentence;
    std::int32_t count;
  };
  std::unordered_map<std::string, std::vector<Posting>> postings;
  std::unordered_map<std::string, std::int32_t>
      wordless;  // folded sentences without a word: equal or nothing
  std::vector<std::int32_t> sizes;
};

SimilarityIndex::SimilarityIndex(const std::vector<std::string>& sentences)
    : impl_(std::make_unique<Impl>()) {
  impl_->sizes.reserve(sentences.size());
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    const auto at = static_cast<std::int32_t>(i);
    const std::string folded = fold(sentences[i]);
    const Bag bag = bag_of(folded);
    impl_->sizes.push_back(bag.size);
    if (bag.size == 0) impl_->wordless.emplace(folded, at);
    for (const auto& [word, count] : bag.words) impl_->postings[word].push_back({at, count});
  }
}

SimilarityIndex::~SimilarityIndex() = default;
SimilarityIndex::SimilarityIndex(SimilarityIndex&&) noexcept = default;
SimilarityIndex& SimilarityIndex::operator=(SimilarityIndex&&) noexcept = default;

Match SimilarityIndex::nearest(std::string_view sentence) const {
  const std::string folded = fold(sentence);
  const Bag bag = bag_of(folded);
  if (bag.size == 0) {
    const auto found = impl_->wordless.find(folded);
    return found == impl_->wordless.end() ? Match{} : Match{found->second, 1};
  }
  // Common words of every sentence at once: the postings of the query's words, added up.
  std::vector<std::int32_t> common(impl_->sizes.size(), 0);
  for (const auto& [word, count] : bag.words) {
    const auto found = impl_->postings.find(word);
    if (found == impl_->postings.end()) continue;
    for (const auto& posting : found->second) {
      common[static_cast<std::size_t>(posting.sentence)] += std::min(count, posting.count);
    }
  }
  // Exact comparison of fractions: 2a/(x+n) > 2b/(y+n) as integers, so that ties are ties.
  std::int64_t best = -1;
  std::int64_t best_common = 0;
  std::int64_t best_total = 1;
  for (std::size_t i = 0; i < common.size(); ++i) {
    const std::int64_t total = impl_->sizes[i] + bag.size;
    if (common[i] * best_total > best_common * total) {
      best = static_cast<std::int64_t>(i);
      best_common = common[i];
      best_total = total;
    }
  }
  return {best, best < 0 ? 0 : 2.0 * static_cast<double>(best_common) / static_cast<double>(best_total)};
}

std::vector<Match> SimilarityIndex::nearest(const std::vector<std::string>& sentences) const {
  std::vector<Match> matches(sentences.size());
  core::parallel_for(static_cast<std::int64_t>(sentences.size()), [&](std::int64_t i) {
    matches[static_cast<std::size_t>(i)] = nearest(sentences[static_cast<std::size_t>(i)]);
  });
  return matches;
}

}  // namespace headway::inline v1::text
