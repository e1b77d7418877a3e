#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>
#include <headway/text/metrics.h>

namespace headway::inline v1::text {

/// none: blanks alone; v13a: mteval-v13a, the default of WMT; intl: mteval-v14, by Unicode categories; chars.
enum class BleuTokenizer { none, v13a, intl, chars };
/// exp: k-th order without a match counts 1/2^k of a match (NIST); floor: `smooth_value` of a match (0.1
/// unless given); add_k: adds `smooth_value` (1 unless given) to both counts of orders above 1 (Chen and
/// Cherry 2014).
enum class BleuSmoothing { none, exp, floor, add_k };

struct BleuOptions {
  BleuTokenizer tokenizer = BleuTokenizer::v13a;
  BleuSmoothing smoothing = BleuSmoothing::exp;
  std::optional<double> smooth_value = std::nullopt;
  bool lowercase = false;
  bool effective_order = false;  ///< average over the orders that the hypothesis is long enough for
};

inline constexpr int kBleuOrder = 4;

/// Counts of one sentence; those of a corpus are their sum.
struct BleuCounts {
  std::int64_t hypothesis_length = 0;
  std::int64_t reference_length = 0;  ///< of the reference closest in length
  std::array<std::int64_t, kBleuOrder> matches{};
  std::array<std::int64_t, kBleuOrder> totals{};
  HEADWAY_API BleuCounts& operator+=(const BleuCounts& other);
};

struct BleuScore {
  double score = 0;  ///< 0 to 100
  std::array<double, kBleuOrder> precisions{};
  double brevity_penalty = 1;
  BleuCounts counts;
  /// As sacreBLEU writes it: "30.0/6.6/2.4/1.0 (BP = 0.772 ratio = 0.794 hyp_len = 25563 ref_len = 32179)".
  HEADWAY_API std::string details() const;
};

/// Error(value) for lists of unequal length or without a reference; Error(format) for text that is not UTF-8.
HEADWAY_API std::vector<BleuCounts> bleu_counts(const std::vector<std::string>& hypotheses,
                                                const References& references,
                                                const BleuOptions& options = {});
/// BLEU = BP · exp(¼ Σₙ ln pₙ), BP = min(1, exp(1 − r/c)) (Papineni et al. 2002).
HEADWAY_API BleuScore bleu_score(const BleuCounts& total, const BleuOptions& options = {});
HEADWAY_API BleuScore corpus_bleu(const std::vector<std::string>& hypotheses, const References& references,
                                  const BleuOptions& options = {});
/// With effective order, whatever the options say: a short sentence has no 4-grams.
HEADWAY_API BleuScore sentence_bleu(const std::string& hypothesis, const std::vector<std::string>& references,
                                    BleuOptions options = {});
HEADWAY_API Interval bleu_interval(const std::vector<BleuCounts>& sentences, const BleuOptions& options = {},
                                   const BootstrapOptions& bootstrap = {});

/// "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:headway-0.1.0"; with `bs:` and `seed:` after nrefs
/// when given.
HEADWAY_API std::string bleu_signature(const BleuOptions& options, std::size_t references,
                                       const std::optional<BootstrapOptions>& bootstrap = std::nullopt);

/// One sentence as the metric sees it: tokens between single blanks.
HEADWAY_API std::string bleu_tokenize(std::string_view sentence, BleuTokenizer tokenizer);

/// "13a", "intl", "char", "none"; Error(value) listing them for any other name.
HEADWAY_API BleuTokenizer bleu_tokenizer(std::string_view name);
HEADWAY_API std::string_view name_of(BleuTokenizer tokenizer);
/// "exp", "floor", "add-k", "none".
HEADWAY_API BleuSmoothing bleu_smoothing(std::string_view name);
HEADWAY_API std::string_view name_of(BleuSmoothing smoothing);

}  // namespace headway::inline v1::text
