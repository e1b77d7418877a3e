// What attention's passes do to one tile: a few dozen keys by a block of queries. Scores are held transposed,
// [key][query] with vectors along queries: a block of queries is transposed once, keys and values are
// broadcast from where they lie, and softmax never crosses lanes. All five products of forward and backward
// are then the same loop, `panel`.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <limits>

#include <hwy/cache_control.h>

#include <headway/kernels/attention.h>

#include "kernels/cpu/attention_walk-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// A register tile is kRows x kVectors accumulators, a row of B and one broadcast of A: 24 accumulators of 32
// registers, 12 of 16, enough to hide the latency of an FMA.
constexpr int kAccumulators = HWY_TARGET <= HWY_AVX3 ? 24 : 12;
constexpr int kMaxVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What sums by a maximum of `before` are worth by one of `base`: exactly 1 where it has not changed. exp2(0)
// is one rounding above that, and so would weigh every tile by how many follow it.
HWY_INLINE Floats rescale_factor(Floats before, Floats base) {
  const FloatTag f;
  return hn::IfThenElse(hn::Eq(before, base), hn::Set(f, 1.f), exp2(hn::Sub(before, base)));
}

// What becomes of C: the product, the product times `factor` (of its row), C plus the product, or C times
// `factor` plus the product.
enum class Start { zero, scale, load, rescale };

struct Panel {
  std::int64_t rows = 0, depth = 0;
  const float* a = nullptr;  // element (r, l) is a[r·a_row + l·a_step]
  std::int64_t a_row = 0, a_step = 1;
  const float* b = nullptr;  // row l is b + l·b_row
  std::int64_t b_row = 0;
  float* c = nullptr;
  std::int64_t c_row = 0;
  const float* factor = nullptr;
};

// Rows from `first` on, vectors from `column` on.
template <int kRows, int kVectors, Start kStart>
HWY_INLINE void register_tile(const Panel& p, std::int64_t first, int column) {
  const FloatTag f;
  Floats acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::Zero(f);
  }
  // Copies: a store through a vector's pointer might change `p`, for all the compiler knows.
  const std::int64_t a_row = p.a_row, a_step = p.a_step, b_row = p.b_row, c_row = p.c_row;
  const float* a = p.a + first * a_row;
  const float* b = p.b + column * kLanes;
  for (std::int64_t l = 0; l < p.depth; ++l) {
    Floats row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(f, b + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Floats x = hn::Set(f, a[r * a_row]);
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(x, row[v], acc[r][v]);
    }
    a += a_step;
    b += b_row;
  }
  // C joins at the end: a sum over all keys is then one of tiles, whose rounding grows with their number, not
  // with that of the keys.
  float* to = p.c + first * c_row + column * kLanes;
  const float* factor = p.factor ? p.factor + first : nullptr;
  for (int r = 0; r < kRows; ++r, to += c_row) {
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kStart == Start::load) acc[r][v] = hn::Add(acc[r][v], hn::LoadU(f, to + v * kLanes));
      if constexpr (kStart == Start::scale) acc[r][v] = hn::Mul(acc[r][v], hn::Set(f, factor[r]));
      if constexpr (kStart == Start::rescale)
        acc[r][v] = hn::MulAdd(hn::LoadU(f, to + v * kLanes), hn::Set(f, factor[r]), acc[r][v]);
      hn::StoreU(acc[r][v], f, to + v * kLanes);
    }
  }
}

template <int kRows, int kVectors, Start kStart>
HWY_INLINE void rest_of_row(const Panel& p, std::int64_t first, int column, int vectors) {
  if constexpr (kVectors > 0) {
    if (vectors == kVectors) return register_tile<kRows, kVectors, kStart>(p, first, column);
    rest_of_row<kRows, kVectors - 1, kStart>(p, first, column, vectors);
  }
}

// All columns of kRows rows, kWide vectors at a time, before the next rows: A is read once, and B, at most a
// few dozen KiB, from the cache.
template <int kRows, int kWide, Start kStart>
void row_group(const Panel& p, std::int64_t first, int vectors) {
  int column = 0;
  for (; column + kWide <= vectors; column += kWide) register_tile<kRows, kWide, kStart>(p, first, column);
  if (column < vectors) rest_of_row<kRows, kWide - 1, kStart>(p, first, column, vectors - column);
}

// So many rows, at most kRows.
template <int kRows, int kWide, Start kStart>
void last_rows(const Panel& p, std::int64_t first, std::int64_t rows, int vectors) {
  if (rows == kRows) return row_group<kRows, kWide, kStart>(p, first, vectors);
  if constexpr (kRows > 1) last_rows<kRows - 1, kWide, kStart>(p, first, rows, vectors);
}

// As many rows at a time as the registers hold, and what is left in one tile. Below eight accumulators a tile
// waits for its own sums (two pipes, four cycles): so few rows share the last full tile's.
template <int kWide, Start kStart>
void panel_rows(const Panel& p, int vectors) {
  constexpr int kRows = std::min(kAccumulators / kWide, 12);
  constexpr int kEnough = (8 + kWide - 1) / kWide;
  std::int64_t full = p.rows / kRows;
  const std::int64_t rest = p.rows - full * kRows;
  const bool shares = full > 0 && rest > 0 && rest < kEnough;
  if (shares) --full;
  std::int64_t first = 0;
  for (; first < full * kRows; first += kRows) row_group<kRows, kWide, kStart>(p, first, vectors);
  if (shares) {
    const std::int64_t half = (kRows + rest + 1) / 2;
    last_rows<(kRows + kEnough) / 2, kWide, kStart>(p, first, half, vectors);
    first += half;
  }
  if (first < p.rows) last_rows<kRows - 1, kWide, kStart>(p, first, p.rows - first, vectors);
}

template <Start kStart>
void panel(const Panel& p, int vectors) {
  if (vectors == 3) return panel_rows<3, kStart>(p, vectors);
  if (vectors >= kMaxVectors) return panel_rows<kMaxVectors, kStart>(p, vectors);
  if (vectors == 2) return panel_rows<2, kStart>(p, vectors);
  panel_rows<1, kStart>(p, vectors);
}

// The same where a hidden pair may stand beside a NaN or an infinity: a weight of exactly 0, on either side,
// multiplies nothing. Slow, and rare: only tiles with hidden pairs and non-finite rows come here.
template <Start kStart>
void panel_skipping_zeros(const Panel& p, int vectors) {
  const FloatTag f;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      float* c = p.c + r * p.c_row + v * kLanes;
      Floats acc = hn::Zero(f);
      for (std::int64_t l = 0; l < p.depth; ++l) {
        const float x = p.a[r * p.a_row + l * p.a_step];
        const Floats y = hn::LoadU(f, p.b + l * p.b_row + v * kLanes);
        if (x == 0.f) continue;
        acc = hn::IfThenElse(hn::Eq(y, hn::Zero(f)), acc, hn::MulAdd(hn::Set(f, x), y, acc));
      }
      if (kStart == Start::load) acc = hn::Add(acc, hn::LoadU(f, c));
      if (kStart == Start::scale) acc = hn::Mul(acc, hn::Set(f, p.factor[r]));
      if (kStart == Start::rescale) acc = hn::MulAdd(hn::LoadU(f, c), hn::Set(f, p.factor[r]), acc);
      hn::StoreU(acc, f, c);
    }
  }
}

template <Start kStart>
void product(const Panel& p, int vectors, bool skip_zeros) {
  if (skip_zeros) return panel_skipping_zeros<kStart>(p, vectors);
  panel<kStart>(p, vectors);
}

inline std::int64_t round_up(std::int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// x·0 is NaN for NaN and infinity alone.
inline bool all_finite(const float* rows, std::int64_t count, std::int64_t row, std::int64_t width) {
  const FloatTag f;
  Floats seen = hn::Zero(f);
  float rest = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    const float* x = rows + r * row;
    std::int64_t d = 0;
    for (; d + kLanes <= width; d += kLanes) seen = hn::MulAdd(hn::LoadU(f, x + d), hn::Zero(f), seen);
    for (; d < width; ++d) rest += x[d] * 0.f;
  }
  return hn::AllTrue(f, hn::Eq(seen, seen)) && rest == rest;
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

// Rows first, first + step, … of a tensor of heads.
struct RowSpan {
  std::int64_t first, count, step = 1;
};
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

// Rows of heads lie far apart: the hardware's own prefetching, which follows adjacent lines, does not find
// the next. Always inlined: a function that only prefetches has no effect in GCC's eyes, and its calls are
// dropped.
HWY_INLINE void prefetch_rows(DType dtype, const HeadRows& rows, const RowSpan& span, std::int64_t head,
                              std::int64_t dim) {
  constexpr std::int64_t kLine = 64;
  const auto size = static_cast<std::int64_t>(size_of(dtype));
  const auto* row = static_cast<const char*>(rows.at(dtype, span.first, head));
  for (std::int64_t r = 0; r < span.count; ++r, row += rows.row * span.step * size) {
    for (std::int64_t at = 0; at < dim * size; at += kLine) hwy::Prefetch(row + at);
  }
}

// The block's rows, times `factor`, as [dim][kQueries]; lanes without a query are zero.
inline void transpose_block(const Rows& rows, const QueryBlock& block, std::int64_t dim, float factor,
                            float* out) {
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

// The three kinds of product of a run within the tile of keys from j0 on.

// scores[key][query] = Σ_d keys[key][d]·query[d][query]
inline void score_product(const Rows& keys, std::int64_t dim, const float* query, const Run& run,
                          std::int64_t j0, float* scores) {
  panel<Start::zero>({.rows = run.keys(),
                      .depth = dim,
                      .a = keys.data + (run.begin - j0) * keys.row,
                      .a_row = keys.row,
                      .b = query + run.first * kLanes,
                      .b_row = kQueries,
                      .c = scores + (run.begin - j0) * kQueries + run.first * kLanes,
                      .c_row = kQueries},
                     run.vectors());
}

// out[query][d] += Σ_key weights[key][query]·rows[key][d], `width` columns of them; queries of `out` are
// `out_row` apart.
template <Start kStart>
void query_product(const Rows& rows, std::int64_t width, const float* weights, const QueryBlock& block,
                   const Run& run, std::int64_t j0, const float* factor, float* out, std::int64_t out_row,
                   bool skip_zeros) {
  const std::int64_t first = run.first * kLanes;
  product<kStart>({.rows = std::min(run.last * kLanes, block.count) - first,
                   .depth = run.keys(),
                   .a = weights + (run.begin - j0) * kQueries + first,
                   .a_row = 1,
                   .a_step = kQueries,
                   .b = rows.data + (run.begin - j0) * rows.row,
                   .b_row = rows.row,
                   .c = out + first * out_row,
                   .c_row = out_row,
                   .factor = factor ? factor + first : nullptr},
                  static_cast<int>(width / kLanes), skip_zeros);
}

// out[key][d] += Σ_query weights[key][query]·rows[query][d], `width` columns of them; keys of `out` are
// `step` rows apart.
inline void key_product(const Rows& rows, std::int64_t width, const float* weights, const QueryBlock& block,
                        const Run& run, std::int64_t j0, float* out, bool skip_zeros, std::int64_t step = 1) {
  const std::int64_t first = run.first * kLanes;
  product<Start::load>({.rows = run.keys(),
                        .depth = std::min(run.last * kLanes, block.count) - first,
                        .a = weights + (run.begin - j0) * kQueries + first,
                        .a_row = kQueries,
                        .b = rows.data + first * rows.row,
                        .b_row = rows.row,
                        .c = out + (run.begin - j0) * width * step,
                        .c_row = width * step},
                       static_cast<int>(width / kLanes), skip_zeros);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
