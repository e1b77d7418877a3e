#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/generator.h>
#include <headway/text/metrics.h>

namespace headway::inline v1::text {

/// Equal lengths, at least one sentence and one reference, valid UTF-8: else Error naming list and line.
void check_metric_input(const std::vector<std::string>& hypotheses, const References& references,
                        std::string_view operation);

/// Words between white space as Python's str.split() sees it (also the separators 0x1C to 0x1F).
std::vector<std::u32string> split_words(std::u32string_view text);
bool is_python_space(char32_t c);

/// "nrefs:1" and, where there is a bootstrap, "|bs:1000|seed:12345".
std::string signature_head(std::size_t references, const std::optional<BootstrapOptions>& bootstrap);
std::string signature_tail();

void check_bootstrap(const BootstrapOptions& options, std::size_t sentences);
Interval interval_of(std::vector<double> scores);

/// Scores of `samples` resampled corpora. Sample k draws its sentences from call k of the seed, so that the
/// result depends on seed and counts alone. 64 random bits scaled to [0, n) by their upper half: the bias is
/// below 2⁻⁴⁰ for fewer than 2²⁴ sentences.
template <typename Counts, typename Score>
Interval bootstrap(const std::vector<Counts>& sentences, const BootstrapOptions& options,
                   const Score& score) {
  check_bootstrap(options, sentences.size());
  std::vector<double> scores;
  for (int sample = 0; sample < options.samples; ++sample) {
    const RandomCall call{options.seed, static_cast<std::uint64_t>(sample)};
    Counts total;
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      const auto words = call.words(i);
      const std::uint64_t random = (std::uint64_t{words[0]} << 32) | words[1];
      __extension__ using Wide = unsigned __int128;
      total += sentences[static_cast<std::size_t>((Wide{random} * sentences.size()) >> 64)];
    }
    scores.push_back(score(total));
  }
  return interval_of(std::move(scores));
}

}  // namespace headway::inline v1::text
