#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <headway/core/export.h>
#include <headway/text/metrics.h>

namespace headway::inline v1::text {

/// word_order 0 is chrF, 2 is chrF++ (Popović 2015, 2017); beta 2 weighs recall four times as much as
/// precision.
struct ChrfOptions {
  int char_order = 6;  ///< 1 to 6
  int word_order = 0;  ///< 0 to 2
  int beta = 2;
  bool lowercase = false;
  bool whitespace = false;  ///< count blanks as characters
};

inline constexpr int kChrfOrders = 8;

/// Counts of n-grams of one sentence against its best reference, characters first, then words.
struct ChrfCounts {
  std::array<std::int64_t, kChrfOrders> hypothesis{};
  std::array<std::int64_t, kChrfOrders> reference{};
  std::array<std::int64_t, kChrfOrders> matches{};
  HEADWAY_API ChrfCounts& operator+=(const ChrfCounts& other);
};

HEADWAY_API std::vector<ChrfCounts> chrf_counts(const std::vector<std::string>& hypotheses,
                                                const References& references,
                                                const ChrfOptions& options = {});
/// F_β of the mean precision and mean recall over the orders both sides are long enough for; 0 to 100.
HEADWAY_API double chrf_score(const ChrfCounts& total, const ChrfOptions& options = {});
HEADWAY_API double corpus_chrf(const std::vector<std::string>& hypotheses, const References& references,
                               const ChrfOptions& options = {});
HEADWAY_API double sentence_chrf(const std::string& hypothesis, const std::vector<std::string>& references,
                                 const ChrfOptions& options = {});
HEADWAY_API Interval chrf_interval(const std::vector<ChrfCounts>& sentences, const ChrfOptions& options = {},
                                   const BootstrapOptions& bootstrap = {});

/// "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:headway-0.1.0".
HEADWAY_API std::string chrf_signature(const ChrfOptions& options, std::size_t references,
                                       const std::optional<BootstrapOptions>& bootstrap = std::nullopt);
/// "chrF2", "chrF2++".
HEADWAY_API std::string chrf_name(const ChrfOptions& options);

}  // namespace headway::inline v1::text
