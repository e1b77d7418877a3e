// A product of two small matrices in registers, the one loop behind all five products of attention's forward
// and backward.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_PANEL_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_PANEL_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_PANEL_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attention_ahead-inl.h"
#include "kernels/cpu/pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// A register tile is kRows x kVectors accumulators, a row of B and one broadcast of A: 24 accumulators of 32
// registers, 12 of 16, enough to hide the latency of an FMA.
constexpr int kAccumulators = HWY_TARGET <= HWY_AVX3 ? 24 : 12;
constexpr int kMaxVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
constexpr int kRowsAtOnce = kAccumulators / kMaxVectors;

// What becomes of C: the product, the product times `factor` (of its row), C plus the product, or C times
// `factor` plus the product.
enum class Start { zero, scale, load, rescale };

// Of floats, or of words that hold pairs of bfloat16: C is of floats in either case.
struct Panel {
  std::int64_t rows = 0, depth = 0;
  const float* a = nullptr;  // element (r, l) is a[r·a_row + l·a_step]
  std::int64_t a_row = 0, a_step = 1;
  const float* b = nullptr;  // row l is b + l·b_row
  std::int64_t b_row = 0;
  float* c = nullptr;
  std::int64_t c_row = 0;
  const float* factor = nullptr;
  Ahead* ahead = nullptr;  // fetched from meanwhile, if not null
};

// Rows from `first` on, vectors from `column` on.
template <class As, int kRows, int kVectors, Start kStart>
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
  float* to = p.c + first * c_row + column * kLanes;
  if constexpr (kStart == Start::load || kStart == Start::rescale) {
    for (int r = 0; r < kRows; ++r) hwy::Prefetch(to + r * c_row);
  }
  for (std::int64_t l = 0; l < p.depth; ++l) {
    Floats row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(f, b + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Floats x = hn::Set(f, a[r * a_row]);
      for (int v = 0; v < kVectors; ++v) acc[r][v] = As::add(x, row[v], acc[r][v]);
    }
    a += a_step;
    b += b_row;
  }
  // C joins at the end: a sum over all keys is then one of tiles, whose rounding grows with their number, not
  // with that of the keys.
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

template <class As, int kRows, int kVectors, Start kStart>
HWY_INLINE void rest_of_row(const Panel& p, std::int64_t first, int column, int vectors) {
  if constexpr (kVectors > 0) {
    if (vectors == kVectors) return register_tile<As, kRows, kVectors, kStart>(p, first, column);
    rest_of_row<As, kRows, kVectors - 1, kStart>(p, first, column, vectors);
  }
}

// All columns of kRows rows, kWide vectors at a time, before the next rows: A is read once, and B, at most a
// few dozen KiB, from the cache.
template <class As, int kRows, int kWide, Start kStart>
void row_group(const Panel& p, std::int64_t first, int vectors) {
  int column = 0;
  for (; column + kWide <= vectors; column += kWide)
    register_tile<As, kRows, kWide, kStart>(p, first, column);
  if (column < vectors) rest_of_row<As, kRows, kWide - 1, kStart>(p, first, column, vectors - column);
}

// So many rows, at most kRows.
template <class As, int kRows, int kWide, Start kStart>
void last_rows(const Panel& p, std::int64_t first, std::int64_t rows, int vectors) {
  if (rows == kRows) return row_group<As, kRows, kWide, kStart>(p, first, vectors);
  if constexpr (kRows > 1) last_rows<As, kRows - 1, kWide, kStart>(p, first, rows, vectors);
}

// As many rows at a time as the registers hold, and what is left in one tile. Below eight accumulators a tile
// waits for its own sums (two pipes, four cycles): so few rows share the last full tile's.
template <class As, int kWide, Start kStart>
void panel_rows(const Panel& p, int vectors) {
  constexpr int kRows = std::min(kAccumulators / kWide, 12);
  constexpr int kEnough = (8 + kWide - 1) / kWide;
  std::int64_t full = p.rows / kRows;
  const std::int64_t rest = p.rows - full * kRows;
  const bool shares = full > 0 && rest > 0 && rest < kEnough;
  if (shares) --full;
  std::int64_t first = 0;
  for (; first < full * kRows; first += kRows) {
    row_group<As, kRows, kWide, kStart>(p, first, vectors);
    if (p.ahead) p.ahead->fetch();
  }
  if (shares) {
    const std::int64_t half = (kRows + rest + 1) / 2;
    last_rows<As, (kRows + kEnough) / 2, kWide, kStart>(p, first, half, vectors);
    first += half;
  }
  if (first < p.rows) last_rows<As, kRows - 1, kWide, kStart>(p, first, p.rows - first, vectors);
}

template <class As, Start kStart>
void panel(const Panel& p, int vectors) {
  if (vectors == 3) return panel_rows<As, 3, kStart>(p, vectors);
  if (vectors >= kMaxVectors) return panel_rows<As, kMaxVectors, kStart>(p, vectors);
  if (vectors == 2) return panel_rows<As, 2, kStart>(p, vectors);
  panel_rows<As, 1, kStart>(p, vectors);
}

// The same where a hidden pair may stand beside a NaN or an infinity: a weight of exactly 0, on either side,
// multiplies nothing. Slow, and rare: only tiles with hidden pairs and non-finite rows come here.
template <class As, Start kStart>
void panel_skipping_zeros(const Panel& p, int vectors) {
  const FloatTag f;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      float* c = p.c + r * p.c_row + v * kLanes;
      Floats acc = hn::Zero(f);
      for (std::int64_t l = 0; l < p.depth; ++l) {
        const Floats x = hn::Set(f, p.a[r * p.a_row + l * p.a_step]);
        acc = As::add_seen(x, hn::LoadU(f, p.b + l * p.b_row + v * kLanes), acc);
      }
      if (kStart == Start::load) acc = hn::Add(acc, hn::LoadU(f, c));
      if (kStart == Start::scale) acc = hn::Mul(acc, hn::Set(f, p.factor[r]));
      if (kStart == Start::rescale) acc = hn::MulAdd(hn::LoadU(f, c), hn::Set(f, p.factor[r]), acc);
      hn::StoreU(acc, f, c);
    }
  }
}

template <Start kStart>
void product(const Panel& p, int vectors, bool pairs, bool skip_zeros = false) {
  if constexpr (kPairs) {
    if (pairs && skip_zeros) return panel_skipping_zeros<AsPairs, kStart>(p, vectors);
    if (pairs) return panel<AsPairs, kStart>(p, vectors);
  }
  if (skip_zeros) return panel_skipping_zeros<AsFloats, kStart>(p, vectors);
  panel<AsFloats, kStart>(p, vectors);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
