// The formulas of kernels/merge_attention.h, number by number, in float64.
#include <headway/kernels/merge_attention.h>

#include <cmath>
#include <limits>
#include <vector>

namespace headway::inline v1::kernels {
namespace {

constexpr double kEmpty = -std::numeric_limits<double>::infinity();

// Calls visit(place of the first element in o, place in lse) for every query and head.
template <typename Visit>
void each_row(const MergeForward<double>& a, const Visit& visit) {
  for (std::int64_t b = 0; b < a.batch; ++b) {
    for (std::int64_t t = 0; t < a.queries; ++t) {
      for (std::int64_t h = 0; h < a.heads; ++h)
        visit(((b * a.queries + t) * a.heads + h) * a.value_dim, (b * a.heads + h) * a.queries + t);
    }
  }
}

double log_sum_exp(const MergeForward<double>& a, std::int64_t row) {
  double largest = kEmpty, total = 0;
  for (const auto& part : a.parts) {
    const double sum = part.lse[row];
    if (std::isnan(sum) || sum > largest) largest = sum;
  }
  if (largest == kEmpty) return kEmpty;
  for (const auto& part : a.parts) total += std::exp(part.lse[row] - largest);
  return largest + std::log(total);
}

double weight(const AttentionPart<double>& part, std::int64_t row, double all) {
  return part.lse[row] == kEmpty ? 0 : std::exp(part.lse[row] - all);
}

}  // namespace

template <>
void merge_attention(const MergeForward<double>& a) {
  each_row(a, [&](std::int64_t at, std::int64_t row) {
    const double all = log_sum_exp(a, row);
    a.lse[row] = all;
    for (std::int64_t d = 0; d < a.value_dim; ++d) {
      double total = 0;
      for (const auto& part : a.parts) {
        if (part.lse[row] != kEmpty) total += weight(part, row, all) * part.o[at + d];
      }
      a.o[at + d] = total;
    }
  });
}

template <>
void merge_attention_backward(const MergeBackward<double>& g) {
  const MergeForward<double>& a = g.forward;
  each_row(a, [&](std::int64_t at, std::int64_t row) {
    const double all = log_sum_exp(a, row);
    const auto slope = [&](const AttentionPart<double>& part) {
      double c = 0;
      for (std::int64_t d = 0; g.d_o && d < a.value_dim; ++d) c += g.d_o[at + d] * part.o[at + d];
      return c;
    };
    double mean = 0;
    for (const auto& part : a.parts) {
      if (part.lse[row] != kEmpty) mean += weight(part, row, all) * slope(part);
    }
    for (std::size_t i = 0; i < a.parts.size(); ++i) {
      const bool empty = a.parts[i].lse[row] == kEmpty;
      const double w = weight(a.parts[i], row, all);
      for (std::int64_t d = 0; g.grads[i].d_o && d < a.value_dim; ++d)
        g.grads[i].d_o[at + d] = empty || !g.d_o ? 0 : w * g.d_o[at + d];
      if (!g.grads[i].d_lse) continue;
      g.grads[i].d_lse[row] = empty ? 0 : w * (slope(a.parts[i]) - mean + (g.d_lse ? g.d_lse[row] : 0));
    }
  });
}

}  // namespace headway::inline v1::kernels
