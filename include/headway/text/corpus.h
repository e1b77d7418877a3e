#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::text {

/// A sentence and its translation. Pairs of one document never end up on both sides of a split.
struct Pair {
  std::string source;
  std::string target;
  std::string document;
  friend bool operator==(const Pair&, const Pair&) = default;
};
using Pairs = std::vector<Pair>;

struct CleanOptions {
  int max_words = 30;  ///< words (runs of non-space characters) on either side
  double max_length_ratio =
      2;                ///< longer side over shorter side, in characters (words misjudge German compounds)
  int ratio_slack = 8;  ///< characters added to both sides first, so that short labels are not judged by it
  int max_identical_words = 3;  ///< equal sides are names up to this many words, untranslated text above it
};

/// What clean() dropped, by the first rule that applied.
struct CleanCounts {
  std::int64_t kept = 0;
  std::int64_t empty = 0;  ///< a side without a letter
  std::int64_t too_long = 0;
  std::int64_t bad_ratio = 0;
  std::int64_t untranslated = 0;
};

/// Normalises white space (runs of any Unicode space become one blank; soft hyphens, zero-width characters
/// and byte order marks go) and keeps the pairs that pass the options. Keeps order and duplicates.
HEADWAY_API Pairs clean(const Pairs& pairs, const CleanOptions& options = {}, CleanCounts* counts = nullptr);

/// Runs of Unicode white space to single blanks, ends trimmed, invisible characters removed.
HEADWAY_API std::string normalize_space(std::string_view text);

/// The form in which sentences count as the same: case folded (Unicode full folding), every decimal digit as
/// '0'.
HEADWAY_API std::string fold(std::string_view text);

}  // namespace headway::inline v1::text
