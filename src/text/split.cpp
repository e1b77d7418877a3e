#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_set>

#include <headway/core/error.h>
#include <headway/text/similarity.h>
#include <headway/text/split.h>

namespace headway::inline v1::text {
namespace {

enum class Part { train, valid, test };

std::vector<std::string> side(const Pairs& pairs, std::string Pair::*member) {
  std::vector<std::string> sentences;
  sentences.reserve(pairs.size());
  for (const Pair& pair : pairs) sentences.push_back(pair.*member);
  return sentences;
}

Pairs without_duplicates(const Pairs& pairs, std::int64_t& duplicates) {
  std::unordered_set<std::string> seen;
  Pairs unique;
  for (const Pair& pair : pairs) {
    if (seen.insert(pair.source + '\t' + pair.target).second) {
      unique.push_back(pair);
    } else {
      ++duplicates;
    }
  }
  return unique;
}

// Everything held-out pairs are compared with.
struct Seen {
  explicit Seen(const Pairs& train) : source(side(train, &Pair::source)), target(side(train, &Pair::target)) {
    for (const Pair& pair : train) {
      sources.insert(fold(pair.source));
      targets.insert(fold(pair.target));
    }
  }
  SimilarityIndex source;
  SimilarityIndex target;
  std::unordered_set<std::string> sources;
  std::unordered_set<std::string> targets;
};

Pairs unseen(const Pairs& held_out, const Seen& seen, double max_similarity, Split& split) {
  Pairs fresh;
  for (const Pair& pair : held_out) {
    if (fold(pair.source) == fold(pair.target)) {
      ++split.identical;
    } else if (seen.sources.contains(fold(pair.source)) || seen.targets.contains(fold(pair.target))) {
      ++split.seen;
    } else {
      fresh.push_back(pair);
    }
  }
  const auto by_source = seen.source.nearest(side(fresh, &Pair::source));
  const auto by_target = seen.target.nearest(side(fresh, &Pair::target));
  Pairs kept;
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    if (std::max(by_source[i].similarity, by_target[i].similarity) >= max_similarity) {
      ++split.similar;
    } else {
      kept.push_back(fresh[i]);
    }
  }
  return kept;
}

}  // namespace

double document_position(std::string_view name, std::string_view salt) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const std::string_view part : {salt, name}) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  // FNV's last characters hardly reach its upper bits, so that "page 17" and "page 18" would fall together:
  // the finaliser of MurmurHash3 spreads every bit over all.
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
  hash ^= hash >> 33;
  return static_cast<double>(hash >> 11) * 0x1p-53;
}

Split split_by_document(const Pairs& pairs, const SplitOptions& options) {
  if (!(options.test >= 0 && options.valid >= 0 && options.test + options.valid < 1)) {
    fail(ErrorCode::value, "split corpus",
         fmt::format(
             "shares are test {} and valid {}; want non-negative ones that leave something for training",
             options.test, options.valid));
  }
  Pairs parts[3];
  std::set<std::string> documents[3];
  for (const Pair& pair : pairs) {
    const double position = document_position(pair.document, options.salt);
    const Part part = position < options.test                   ? Part::test
                      : position < options.test + options.valid ? Part::valid
                                                                : Part::train;
    parts[static_cast<int>(part)].push_back(pair);
    documents[static_cast<int>(part)].insert(pair.document);
  }
  Split split;
  const auto take = [&](Part part) {
    return without_duplicates(parts[static_cast<int>(part)], split.duplicates);
  };
  split.train = take(Part::train);
  const Seen seen(split.train);
  split.valid = unseen(take(Part::valid), seen, options.max_similarity, split);
  split.test = unseen(take(Part::test), seen, options.max_similarity, split);
  const auto list = [&](Part part) {
    const auto& names = documents[static_cast<int>(part)];
    return std::vector<std::string>(names.begin(), names.end());
  };
  split.valid_documents = list(Part::valid);
  split.test_documents = list(Part::test);
  return split;
}

std::vector<std::string> nearest_copy_baseline(const Pairs& train, const Pairs& test) {
  const SimilarityIndex index(side(train, &Pair::source));
  std::vector<std::string> copies;
  copies.reserve(test.size());
  for (const Match& match : index.nearest(side(test, &Pair::source))) {
    copies.push_back(match.index < 0 ? std::string() : train[static_cast<std::size_t>(match.index)].target);
  }
  return copies;
}

}  // namespace headway::inline v1::text
