#include <headway/inspect/similarity.h>

#include <cmath>

#include <fmt/format.h>

namespace headway::inline v1::inspect {
namespace {

// Lin 1991, "Divergence measures based on the Shannon entropy": H((p+q)/2) - (H(p) + H(q))/2, term by term.
double divergence(const float* p, const float* q, std::int64_t count) {
  double total = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double a = p[i];
    const double b = q[i];
    const double mean = (a + b) / 2;
    if (a > 0) total += a / 2 * std::log2(a / mean);
    if (b > 0) total += b / 2 * std::log2(b / mean);
  }
  return total;
}

bool empty_row(const float* row, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (row[i] > 0) return false;
  }
  return true;
}

}  // namespace

double head_divergence(const Tensor& weights) {
  if (!weights.defined() || weights.rank() < 3 || weights.rank() > 4) {
    fail(ErrorCode::shape, "head_divergence",
         fmt::format("weights are {}; want [H, T, S] or [B, H, T, S]",
                     weights.defined() ? weights.describe() : "undefined"));
  }
  const std::vector<float> values = weights.to_vector<float>();
  const std::int64_t batch = weights.rank() == 4 ? weights.size(0) : 1;
  const std::int64_t heads = weights.size(-3), queries = weights.size(-2), keys = weights.size(-1);
  double total = 0;
  double count = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t t = 0; t < queries; ++t) {
      const auto row = [&](std::int64_t h) { return values.data() + ((b * heads + h) * queries + t) * keys; };
      if (heads == 0 || empty_row(row(0), keys)) continue;
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t other = h + 1; other < heads; ++other) {
          total += divergence(row(h), row(other), keys);
          count += 1;
        }
      }
    }
  }
  return count > 0 ? total / count : 0;
}

}  // namespace headway::inline v1::inspect
