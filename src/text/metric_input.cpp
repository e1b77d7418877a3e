#include "text/metric_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include <headway/core/error.h>
#include <headway/core/version.h>

#include "text/utf8.h"

namespace headway::inline v1::text {

void check_metric_input(const std::vector<std::string>& hypotheses, const References& references,
                        std::string_view operation) {
  if (hypotheses.empty()) fail(ErrorCode::value, operation, "there are 0 hypotheses; want at least one");
  if (references.empty()) fail(ErrorCode::value, operation, "there are 0 references; want at least one list");
  const auto check_text = [&](const std::vector<std::string>& lines, const std::string& name) {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (find_invalid_utf8(lines[i]))
        require_utf8(lines[i], operation, fmt::format("{}, line {},", name, i + 1));
    }
  };
  check_text(hypotheses, "hypotheses");
  for (std::size_t r = 0; r < references.size(); ++r) {
    if (references[r].size() != hypotheses.size()) {
      fail(ErrorCode::value, operation,
           fmt::format("reference list {} has {} lines, hypotheses {}; want equally many", r + 1,
                       references[r].size(), hypotheses.size()));
    }
    check_text(references[r], fmt::format("reference list {}", r + 1));
  }
}

bool is_python_space(char32_t c) { return is_space(c) || (c >= 0x1C && c <= 0x1F); }

std::vector<std::u32string> split_words(std::u32string_view text) {
  std::vector<std::u32string> words;
  std::u32string word;
  for (const char32_t c : text) {
    if (!is_python_space(c)) {
      word.push_back(c);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string signature_head(std::size_t references, const std::optional<BootstrapOptions>& bootstrap) {
  std::string head = fmt::format("nrefs:{}", references);
  if (bootstrap) head += fmt::format("|bs:{}|seed:{}", bootstrap->samples, bootstrap->seed);
  return head;
}

std::string signature_tail() { return fmt::format("|version:headway-{}", version()); }

void check_bootstrap(const BootstrapOptions& options, std::size_t sentences) {
  if (options.samples < 2) {
    fail(ErrorCode::value, "bootstrap", fmt::format("samples is {}; want at least 2", options.samples));
  }
  if (sentences == 0) fail(ErrorCode::value, "bootstrap", "there are 0 sentences; want at least one");
}

Interval interval_of(std::vector<double> scores) {
  std::sort(scores.begin(), scores.end());
  const std::size_t outside = scores.size() / 40;
  return {std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size()),
          scores[outside], scores[scores.size() - 1 - outside]};
}

}  // namespace headway::inline v1::text
