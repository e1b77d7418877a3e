// The formulas of kernels/attention.h, pair by pair, in float64.
#include <headway/kernels/attention.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace headway::inline v1::kernels::reference {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

const double* row_of(const HeadRows& rows, std::int64_t r, std::int64_t h) {
  return static_cast<const double*>(rows.at(DType::float64, r, h));
}
double* mutable_row(const HeadRows& rows, std::int64_t r, std::int64_t h) {
  return const_cast<double*>(row_of(rows, r, h));
}

bool visible(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t i, std::int64_t j) {
  if (j < i + s.low || j > i + s.high) return false;
  if (a.mask && !a.mask->visible({s.index, h, i, j, s.query_count, s.key_count})) return false;
  return !a.bias || static_cast<const double*>(a.bias)[a.bias_strides.at(s.index, h, i, j)] != kHidden;
}

// The vector of a pair's distance.
const double* relative_row(const RelativeRows& rows, const SequenceDesc& s, std::int64_t h, std::int64_t i,
                           std::int64_t j) {
  return static_cast<const double*>(rows.data) + h * rows.head + rows.number(s.distance(i, j)) * rows.row;
}

// softcap((Q·Kᵀ + Q'·A)·scale): what a modifier finds.
double capped_score(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t i,
                    std::int64_t j) {
  const std::int64_t g = h * a.kv_heads / a.heads;
  const double* q = row_of(a.q, s.query_row(i), h);
  const double* k = row_of(a.k, s.key_row(j), g);
  double dot = 0;
  for (std::int64_t d = 0; d < a.dim; ++d) dot += q[d] * k[d];
  if (a.relative_keys.data) {
    const double* relative_query = row_of(a.relative_query, s.query_row(i), h);
    const double* row = relative_row(a.relative_keys, s, h, i, j);
    for (std::int64_t d = 0; d < a.dim; ++d) dot += relative_query[d] * row[d];
  }
  dot *= a.scale;
  return a.softcap > 0 ? a.softcap * std::tanh(dot / a.softcap) : dot;
}

// One pair, as a modifier sees it.
ScoreTile<double> pair_tile(const SequenceDesc& s, std::int64_t h, std::int64_t i, std::int64_t j,
                            double* score) {
  return {.scores = score,
          .stride = 1,
          .queries = 1,
          .keys = 1,
          .sequence = s.index,
          .head = h,
          .first_query = i,
          .first_key = j,
          .step = 1,
          .offset = s.position};
}

// Where a distance's bias and its gradient stand.
std::int64_t distance_index(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t i,
                            std::int64_t j) {
  return h * a.distances.head + s.distance(i, j) - a.distances.least;
}

double score(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t i, std::int64_t j) {
  if (!visible(a, s, h, i, j)) return kHidden;
  double total = capped_score(a, s, h, i, j);
  if (a.modifier) a.modifier->apply<double>(pair_tile(s, h, i, j, &total));
  if (a.bias) total += static_cast<const double*>(a.bias)[a.bias_strides.at(s.index, h, i, j)];
  if (a.distances.data) total += static_cast<const double*>(a.distances.data)[distance_index(a, s, h, i, j)];
  return total;
}

// 0 for a dropped weight, 1/(1 - p) for a kept one.
double keep(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t i, std::int64_t j) {
  if (a.dropout.threshold == 0) return 1;
  const auto index = static_cast<std::uint64_t>(i) | static_cast<std::uint64_t>(j / 8) << 32;
  const auto words = a.dropout.call.words(index, static_cast<std::uint32_t>(s.index * a.heads + h));
  const std::uint32_t bits = words[static_cast<std::size_t>(j % 8 / 2)] >> (j % 2 * 16) & 0xffffu;
  return bits < a.dropout.threshold ? 0 : a.dropout.keep_scale();
}

// d(rows) += factor·x, at a pair's distance.
void add_to_row(void* d_rows, const RelativeRows& rows, const SequenceDesc& s, std::int64_t h, std::int64_t i,
                std::int64_t j, double factor, const double* x) {
  if (!d_rows) return;
  double* out = static_cast<double*>(d_rows) + h * rows.head + rows.number(s.distance(i, j)) * rows.row;
  for (std::int64_t d = 0; d < rows.width; ++d) out[d] += factor * x[d];
}

double& lse_at(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t i) {
  return static_cast<double*>(a.lse)[h * a.lse_rows + s.query_row(i)];
}

template <typename Visit>  // visit(sequence, head, query)
void each_query(const AttentionArgs& a, Visit&& visit) {
  for (const SequenceDesc& s : a.sequences) {
    for (std::int64_t h = 0; h < a.heads; ++h) {
      for (std::int64_t i = 0; i < s.query_count; ++i) visit(s, h, i);
    }
  }
}

}  // namespace

void attention_forward(const AttentionArgs& a) {
  std::vector<double> scores;
  each_query(a, [&](const SequenceDesc& s, std::int64_t h, std::int64_t i) {
    scores.assign(static_cast<std::size_t>(s.key_count), 0);
    double largest = kHidden;
    for (std::int64_t j = 0; j < s.key_count; ++j) {
      const double value = score(a, s, h, i, j);
      scores[static_cast<std::size_t>(j)] = value;
      largest = std::isnan(value) ? value : std::max(largest, value);
    }
    double* out = mutable_row(a.o, s.query_row(i), h);
    std::fill(out, out + a.value_dim, 0);
    lse_at(a, s, h, i) = kHidden;
    if (largest == kHidden) return;
    double total = 0;
    for (const double value : scores) total += std::exp(value - largest);
    lse_at(a, s, h, i) = largest + std::log(total);
    for (std::int64_t j = 0; j < s.key_count; ++j) {
      const double value = scores[static_cast<std::size_t>(j)];
      if (value == kHidden) continue;
      const double weight = std::exp(value - largest) / total * keep(a, s, h, i, j);
      const double* v = row_of(a.v, s.key_row(j), h * a.kv_heads / a.heads);
      if (weight == 0) continue;
      for (std::int64_t d = 0; d < a.value_dim; ++d) out[d] += weight * v[d];
      if (!a.relative_values.data) continue;
      const double* row = relative_row(a.relative_values, s, h, i, j);
      for (std::int64_t d = 0; d < a.value_dim; ++d) out[d] += weight * row[d];
    }
  });
}

void attention_backward(const AttentionGradArgs& g) {
  const AttentionArgs& a = g.forward;
  for (const SequenceDesc& s : a.sequences) {
    const auto clear = [&](const HeadRows& rows, std::int64_t begin, std::int64_t count, std::int64_t heads,
                           std::int64_t width) {
      for (std::int64_t r = begin; rows.data && r < begin + count; ++r) {
        for (std::int64_t h = 0; h < heads; ++h) std::fill_n(mutable_row(rows, r, h), width, 0.0);
      }
    };
    clear(g.dq, s.query_begin, s.query_count, a.heads, a.dim);
    if (a.relative_keys.data) clear(g.d_relative_query, s.query_begin, s.query_count, a.heads, a.dim);
    clear(g.dk, s.key_begin, s.key_count, a.kv_heads, a.dim);
    clear(g.dv, s.key_begin, s.key_count, a.kv_heads, a.value_dim);
  }
  each_query(a, [&](const SequenceDesc& s, std::int64_t h, std::int64_t i) {
    const std::int64_t kv = h * a.kv_heads / a.heads;
    const std::int64_t row = s.query_row(i);
    const double* d_o = row_of(g.d_o, row, h);
    const double* o = row_of(a.o, row, h);
    const double* q = row_of(a.q, row, h);
    double delta = g.d_lse ? -static_cast<const double*>(g.d_lse)[h * a.lse_rows + row] : 0;
    for (std::int64_t d = 0; d < a.value_dim; ++d) delta += d_o[d] * o[d];
    for (std::int64_t j = 0; j < s.key_count; ++j) {
      const double value = score(a, s, h, i, j);
      if (value == kHidden) continue;
      const double p = std::exp(value - lse_at(a, s, h, i));
      const double kept = keep(a, s, h, i, j);
      const double* v = row_of(a.v, s.key_row(j), kv);
      const double* k = row_of(a.k, s.key_row(j), kv);
      double dp = 0;
      for (std::int64_t d = 0; d < a.value_dim; ++d) dp += d_o[d] * v[d];
      if (a.relative_values.data) {
        const double* row_values = relative_row(a.relative_values, s, h, i, j);
        for (std::int64_t d = 0; d < a.value_dim; ++d) dp += d_o[d] * row_values[d];
        add_to_row(g.d_relative_values, a.relative_values, s, h, i, j, p * kept, d_o);
      }
      double ds = p * (dp * kept - delta);
      if (g.dbias) static_cast<double*>(g.dbias)[g.dbias_strides.at(s.index, h, i, j)] += ds;
      if (g.ddistances) static_cast<double*>(g.ddistances)[distance_index(a, s, h, i, j)] += ds;
      double capped = capped_score(a, s, h, i, j);
      if (a.modifier) {
        a.modifier->derive<double>(pair_tile(s, h, i, j, &capped), pair_tile(s, h, i, j, &ds),
                                   static_cast<double*>(g.d_modifier));
      }
      if (a.softcap > 0) ds *= 1 - capped * capped / (a.softcap * a.softcap);
      if (a.relative_keys.data) {
        const double* row_keys = relative_row(a.relative_keys, s, h, i, j);
        for (std::int64_t d = 0; d < a.dim; ++d)
          mutable_row(g.d_relative_query, row, h)[d] += a.scale * ds * row_keys[d];
        add_to_row(g.d_relative_keys, a.relative_keys, s, h, i, j, a.scale * ds,
                   row_of(a.relative_query, row, h));
      }
      for (std::int64_t d = 0; g.dq.data && d < a.dim; ++d)
        mutable_row(g.dq, row, h)[d] += a.scale * ds * k[d];
      for (std::int64_t d = 0; g.dk.data && d < a.dim; ++d)
        mutable_row(g.dk, s.key_row(j), kv)[d] += a.scale * ds * q[d];
      for (std::int64_t d = 0; g.dv.data && d < a.value_dim; ++d) {
        mutable_row(g.dv, s.key_row(j), kv)[d] += p * kept * d_o[d];
      }
    }
  });
}

void attention_weights(const AttentionArgs& a, const PairOutput& to) {
  each_query(a, [&](const SequenceDesc& s, std::int64_t h, std::int64_t i) {
    for (std::int64_t j = 0; j < s.key_count; ++j) {
      double value = score(a, s, h, i, j);
      if (to.value == PairValue::weight) value = value == kHidden ? 0 : std::exp(value - lse_at(a, s, h, i));
      double& out = static_cast<double*>(to.data)[to.strides.at(s.index, to.averaged ? 0 : h, i, j)];
      out = to.averaged ? (h == 0 ? 0 : out) + value / static_cast<double>(a.heads) : value;
    }
  });
}

}  // namespace headway::inline v1::kernels::reference
