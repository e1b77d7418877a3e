// What attention's passes do to one tile: a few dozen keys by a block of queries. Scores are held transposed,
// [key][query] with vectors along queries: a block of queries is transposed once, keys are broadcast from
// where they lie, and softmax never crosses lanes. Outputs and gradients are sums of rows, with vectors along
// the head dimension, and are stored as they lie. All five products of forward and backward are then the same
// loop, `panel`.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <limits>

#include <headway/kernels/attention.h>

#include "kernels/cpu/attention_panel-inl.h"
#include "kernels/cpu/attention_walk-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What sums by a maximum of `before` are worth by one of `base`: exactly 1 where it has not changed. exp2(0)
// is one rounding above that, and so would weigh every tile by how many follow it.
HWY_INLINE Floats rescale_factor(Floats before, Floats base) {
  const FloatTag f;
  return hn::IfThenElse(hn::Eq(before, base), hn::Set(f, 1.f), exp2(hn::Sub(before, base)));
}

inline std::int64_t round_up(std::int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Rows of words that hold floats, or pairs of bfloat16. A number is finite when its bits, but for the sign,
// are below those of infinity: integers, whose largest is found without waiting.
template <class Number>
bool all_below(const float* rows, std::int64_t count, std::int64_t row, std::int64_t width, Number infinity) {
  const FloatTag f;
  const hn::ScalableTag<Number> n;
  const auto magnitude = [&](Floats x) HWY_ATTR {
    return hn::And(hn::BitCast(n, x), hn::Set(n, std::numeric_limits<Number>::max()));
  };
  auto even = hn::Zero(n), odd = even;
  for (std::int64_t r = 0; r < count; ++r) {
    const float* x = rows + r * row;
    std::int64_t d = 0;
    for (; d + 2 * kLanes <= width; d += 2 * kLanes) {
      even = hn::Max(even, magnitude(hn::LoadU(f, x + d)));
      odd = hn::Max(odd, magnitude(hn::LoadU(f, x + d + kLanes)));
    }
    for (; d < width; ++d) even = hn::Max(even, magnitude(hn::Set(f, x[d])));
  }
  return hn::AllTrue(n, hn::Lt(hn::Max(even, odd), hn::Set(n, infinity)));
}
inline bool all_finite(const float* rows, std::int64_t count, std::int64_t row, std::int64_t width,
                       bool pairs = false) {
  if (pairs) return all_below<std::int16_t>(rows, count, row, width, 0x7f80);
  return all_below<std::int32_t>(rows, count, row, width, 0x7f800000);
}

// Rows where they lie, or in a row where they do not: a product that walks down a column of rows that are a
// power of two apart finds most of them in the same few sets of the cache.
enum class Place { anywhere, adjacent };

struct Rows {
  const float* data;
  std::int64_t row;
};
// Short rows: a call of memcpy would cost as much again.
inline void copy_floats(const float* in, std::int64_t count, float* out) {
  const FloatTag f;
  std::int64_t d = 0;
  for (; d + kLanes <= count; d += kLanes) hn::StoreU(hn::LoadU(f, in + d), f, out + d);
  for (; d < count; ++d) out[d] = in[d];
}

inline RowSpan queries_of(const SequenceDesc& s, std::int64_t begin, std::int64_t count) {
  return {s.query_row(begin), count, s.step};
}
inline RowSpan keys_of(const SequenceDesc& s, std::int64_t begin, std::int64_t count) {
  return {s.key_row(begin), count, s.step};
}

// Where a block of rows is as float32: in place, or in `buffer`, rows padded to `width`.
inline Rows place_of(DType dtype, const HeadRows& from, const RowSpan& span, std::int64_t head,
                     std::int64_t dim, float* buffer, std::int64_t width, Place place) {
  const std::int64_t row = from.row * span.step;
  if (dtype == DType::float32 && width <= dim && (place == Place::anywhere || row == dim))
    return {static_cast<const float*>(from.at(dtype, span.first, head)), row};
  return {buffer, width};
}

// Copies them, with zeros for padding.
inline void copy_rows(DType dtype, const HeadRows& from, const RowSpan& span, std::int64_t head,
                      std::int64_t dim, float* buffer, std::int64_t width) {
  for (std::int64_t r = 0; r < span.count; ++r) {
    float* out = buffer + r * width;
    const void* in = from.at(dtype, span.first + r * span.step, head);
    if (dtype == DType::bfloat16) {
      to_floats(static_cast<const bfloat16*>(in), dim, out);
    } else {
      copy_floats(static_cast<const float*>(in), dim, out);
    }
    std::fill(out + dim, out + std::max(dim, width), 0.f);
  }
}

// place_of(), copied where they do not lie in place.
inline Rows float_rows(DType dtype, const HeadRows& from, const RowSpan& span, std::int64_t head,
                       std::int64_t dim, float* buffer, std::int64_t width, Place place = Place::anywhere) {
  const Rows rows = place_of(dtype, from, span, head, dim, buffer, width, place);
  if (rows.data == buffer) copy_rows(dtype, from, span, head, dim, buffer, width);
  return rows;
}

// Row `out` becomes from·factor, or has it added.
inline void store_row(const float* from, std::int64_t dim, float factor, bool add, float* out) {
  const FloatTag f;
  const Floats scale = hn::Set(f, factor);
  std::int64_t d = 0;
  for (; d + kLanes <= dim; d += kLanes) {
    const Floats x = hn::Mul(hn::LoadU(f, from + d), scale);
    hn::StoreU(add ? hn::Add(x, hn::LoadU(f, out + d)) : x, f, out + d);
  }
  for (; d < dim; ++d) out[d] = from[d] * factor + (add ? out[d] : 0.f);
}
inline void store_row(const float* from, std::int64_t dim, float factor, bool add, bfloat16* out) {
  for (std::int64_t d = 0; d < dim; ++d)
    out[d] = bfloat16(from[d] * factor + (add ? static_cast<float>(out[d]) : 0.f));
}
inline void store_row(DType dtype, const HeadRows& to, std::int64_t row, std::int64_t head, std::int64_t dim,
                      const float* from, float factor, bool add = false) {
  void* out = const_cast<void*>(to.at(dtype, row, head));
  if (dtype == DType::bfloat16) return store_row(from, dim, factor, add, static_cast<bfloat16*>(out));
  store_row(from, dim, factor, add, static_cast<float*>(out));
}

// The block's rows, times `factor`, as [dim][kQueries]; lanes without a query are zero.
template <class Factor>
void transpose_block(const Rows& rows, const QueryBlock& block, std::int64_t dim, Factor factor, float* out) {
  const FloatTag f;
  float* last = out + (block.vectors - 1) * kLanes;
  for (std::int64_t d = 0; d < dim && block.count < block.vectors * kLanes; ++d)
    hn::StoreU(hn::Zero(f), f, last + d * kQueries);
  transpose(rows.data, rows.row, block.count, dim, factor, out, kQueries);
}

// The block's queries of `from`, times scale·log2(e), as [dim][kQueries]: what scores are made of.
inline void load_query(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                       const HeadRows& from, float* buffer, float* out) {
  const RowSpan span = queries_of(s, block.begin, block.count);
  transpose_block(float_rows(a.dtype, from, span, h, a.dim, buffer, a.dim), block, a.dim,
                  static_cast<float>(a.scale) * kLog2e, out);
}

// The block's log-sum-exps in units of log 2. A query that saw nothing has lse -inf; subtracting +inf instead
// makes its weights exp(-inf) = 0, as it does for lanes without a query.
inline void load_lse(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                     float* out) {
  const auto* lse = static_cast<const float*>(a.lse) + h * a.lse_rows;
  for (std::int64_t i = 0; i < kQueries; ++i) {
    const float value = i < block.count ? lse[s.query_row(block.begin + i)] : -kInfinity;
    out[i] = value == -kInfinity ? kInfinity : value * kLog2e;
  }
}

// The three kinds of product of a run within the tile of keys from j0 on. Where what they sum over goes in
// pairs of bfloat16, so do its rows: `depth` is half of D, two keys share a row of `rows`, or two queries.

// scores[key][query] = Σ_d keys[key][d]·query[d][query], times its key's `factor` if there is one.
inline void score_product(const Rows& keys, std::int64_t depth, const float* query, const Run& run,
                          std::int64_t j0, float* scores, bool pairs = false, const float* factor = nullptr,
                          Ahead* ahead = nullptr) {
  const Panel p{.rows = run.keys(),
                .depth = depth,
                .a = keys.data + (run.begin - j0) * keys.row,
                .a_row = keys.row,
                .b = query + run.first * kLanes,
                .b_row = kQueries,
                .c = scores + (run.begin - j0) * kQueries + run.first * kLanes,
                .c_row = kQueries,
                .factor = factor,
                .ahead = ahead};
  if (factor) return product<Start::scale>(p, run.vectors(), pairs);
  product<Start::zero>(p, run.vectors(), pairs);
}

// out[query][d] += Σ_key weights[key][query]·rows[key][d], `width` columns of them; queries of `out` are
// `out_row` apart.
template <Start kStart>
void query_product(const Rows& rows, std::int64_t width, const float* weights, const QueryBlock& block,
                   const Run& run, std::int64_t j0, const float* factor, float* out, std::int64_t out_row,
                   bool skip_zeros, bool pairs = false, Ahead* ahead = nullptr) {
  const std::int64_t first = run.first * kLanes;
  const std::int64_t in_row = pairs ? 2 : 1;  // keys
  const std::int64_t begin = (run.begin - j0) / in_row, end = (run.end - j0 + in_row - 1) / in_row;
  product<kStart>({.rows = std::min(run.last * kLanes, block.count) - first,
                   .depth = end - begin,
                   .a = weights + begin * kQueries + first,
                   .a_row = 1,
                   .a_step = kQueries,
                   .b = rows.data + begin * rows.row,
                   .b_row = rows.row,
                   .c = out + first * out_row,
                   .c_row = out_row,
                   .factor = factor ? factor + first : nullptr,
                   .ahead = ahead},
                  static_cast<int>(width / kLanes), pairs, skip_zeros);
}

// out[key][d] += Σ_query weights[key][query]·rows[query][d], `width` columns of them; keys of `out` are
// `step` rows apart.
inline void key_product(const Rows& rows, std::int64_t width, const float* weights, const QueryBlock& block,
                        const Run& run, std::int64_t j0, float* out, bool skip_zeros, bool pairs,
                        Ahead* ahead, std::int64_t step = 1) {
  const std::int64_t in_word = pairs ? 2 : 1;  // queries
  const std::int64_t first = run.first * kLanes / in_word;
  const std::int64_t last = (std::min(run.last * kLanes, block.count) + in_word - 1) / in_word;
  product<Start::load>({.rows = run.keys(),
                        .depth = last - first,
                        .a = weights + (run.begin - j0) * kQueries / in_word + first,
                        .a_row = kQueries / in_word,
                        .b = rows.data + first * rows.row,
                        .b_row = rows.row,
                        .c = out + (run.begin - j0) * width * step,
                        .c_row = width * step,
                        .ahead = ahead},
                       static_cast<int>(width / kLanes), pairs, skip_zeros);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
