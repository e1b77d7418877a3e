#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <headway/core/export.h>

// What the metrics share. BLEU and chrF equal sacreBLEU's (Post 2018, "A call for clarity in reporting BLEU
// scores").
namespace headway::inline v1::text {

/// references[r][i] is reference r of sentence i: one list per reference file, each as long as the
/// hypotheses.
using References = std::vector<std::vector<std::string>>;

struct BootstrapOptions {
  int samples = 1000;
  std::uint64_t seed = 12345;
};

/// A 95 % interval by resampling sentences with replacement (Koehn 2004): 2.5 % of the samples lie below
/// `low`, 2.5 % above `high`. `mean` is the samples' mean.
struct Interval {
  double mean = 0;
  double low = 0;
  double high = 0;
  double half_width() const { return (high - low) / 2; }
};

}  // namespace headway::inline v1::text
