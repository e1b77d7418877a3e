#include <algorithm>

#include <headway/text/corpus.h>

#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

bool has_letter(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (is_letter(next_code_point(text, at))) return true;
  }
  return false;
}

}  // namespace

std::string normalize_space(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool pending = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (is_ignorable(c)) continue;
    if (is_space(c)) {
      pending = !out.empty();
      continue;
    }
    if (pending) out.push_back(' ');
    pending = false;
    out.append(text.substr(begin, at - begin));
  }
  return out;
}

std::string fold(std::string_view text) {
  const std::string folded = fold_case(text);
  std::string out;
  out.reserve(folded.size());
  for (std::size_t at = 0; at < folded.size();) {
    const std::size_t begin = at;
    if (is_decimal_digit(next_code_point(folded, at))) {
      out.push_back('0');
    } else {
      out.append(folded, begin, at - begin);
    }
  }
  return out;
}

Pairs clean(const Pairs& pairs, const CleanOptions& options, CleanCounts* counts) {
  CleanCounts local;
  Pairs kept;
  kept.reserve(pairs.size());
  for (const Pair& pair : pairs) {
    Pair next{normalize_space(pair.source), normalize_space(pair.target), pair.document};
    if (!has_letter(next.source) || !has_letter(next.target)) {
      ++local.empty;
      continue;
    }
    const auto words = std::max(count_words(next.source), count_words(next.target));
    if (words > static_cast<std::size_t>(options.max_words)) {
      ++local.too_long;
      continue;
    }
    const auto a = static_cast<double>(count_code_points(next.source)) + options.ratio_slack;
    const auto b = static_cast<double>(count_code_points(next.target)) + options.ratio_slack;
    if (std::max(a, b) > options.max_length_ratio * std::min(a, b)) {
      ++local.bad_ratio;
      continue;
    }
    if (next.source == next.target && words > static_cast<std::size_t>(options.max_identical_words)) {
      ++local.untranslated;
      continue;
    }
    kept.push_back(std::move(next));
  }
  local.kept = static_cast<std::int64_t>(kept.size());
  if (counts != nullptr) *counts = local;
  return kept;
}

}  // namespace headway::inline v1::text
