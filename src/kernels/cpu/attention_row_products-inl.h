// Products of a few heads' queries, or weights, with a few rows of keys or values, and the fetching of the
// rows that come next.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_ROW_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_ROW_PRODUCTS_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_ROW_PRODUCTS_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_ROW_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Of 16 registers twelve hold a product for each head and key, or its weight: three keys' rows and a query,
// or a sum, are the rest. Wider vectors have more registers, but twelve chains keep their multipliers busy.
constexpr int kRowHeads = 4;
constexpr int kKeysTogether = 3;

// Rows that come next, fetched into the L2 cache while others are multiplied. A processor drops what it is
// asked for faster than memory delivers, so it is asked line by line, and once more for the rows before.
struct NextRows {
  const char *rows = nullptr, *before = nullptr;
  std::int64_t row = 0, bytes = 0, count = 0;  // apart; of each; rows
  HWY_INLINE NextRows from(std::int64_t j, std::int64_t keys) const {
    if (j + keys > count) return {};
    return {rows + j * row, rows + std::max<std::int64_t>(j - keys, 0) * row, row, bytes, keys};
  }
};
// Always inlined, as Ahead::fetch() is.
template <int kCount>
HWY_INLINE void fetch_line(NextRows& next) {
  if (next.bytes <= 0) return;
  for (int n = 0; n < kCount; ++n) {
    __builtin_prefetch(next.rows + n * next.row, 0, 2);
    __builtin_prefetch(next.before + n * next.row, 0, 2);
  }
  next.rows += 64;
  next.before += 64;
  next.bytes -= 64;
}

// Rows of bfloat16 where they lie. A vector of them is two of floats, its even elements and its odd ones: in
// that order queries and outputs are held beside such rows, too.
struct HalfRows {
  const bfloat16* data;
  std::int64_t row;
};
constexpr std::int64_t kHalfLanes = 2 * kLanes;
template <class AnyRows>
constexpr int kVectors = std::is_same_v<AnyRows, HalfRows> ? 2 : 1;

// Rows from number j on.
template <class AnyRows>
HWY_INLINE AnyRows rows_from(const AnyRows& rows, std::int64_t j) {
  return {rows.data + j * rows.row, rows.row};
}

// Vector `part` of those that row n begins with.
HWY_INLINE Floats row_vector(const Rows& rows, int n, int) {
  return hn::LoadU(FloatTag(), rows.data + n * rows.row);
}
HWY_INLINE Floats row_vector(const HalfRows& rows, int n, int part) {
  const WordTag w;
  const hn::Repartition<std::uint16_t, WordTag> half;
  const auto* at = reinterpret_cast<const std::uint16_t*>(rows.data + n * rows.row);
  const Words pairs = hn::BitCast(w, hn::LoadU(half, at));
  return hn::BitCast(FloatTag(), part ? hn::And(pairs, hn::Set(w, 0xffff0000u)) : hn::ShiftLeft<16>(pairs));
}

using FourTag = hn::FixedTag<float, 4>;

// The sum of a vector's parts of 16 bytes.
template <class Tag>
HWY_INLINE hn::Vec<FourTag> sum_parts(Tag f, hn::Vec<Tag> x) {
  if constexpr (hn::MaxLanes(f) == 4) {
    return x;
  } else {
    const hn::Half<Tag> half;
    return sum_parts(half, hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)));
  }
}

// The sums of the lanes of four vectors.
HWY_INLINE hn::Vec<FourTag> sum_lanes(const Floats* x) {
  const FloatTag f;
  const hn::Repartition<double, FloatTag> two;
  const auto pairs = [&](Floats a, Floats b) HWY_ATTR {  // a02 b02 a13 b13 of every 16 bytes
    return hn::BitCast(two, hn::Add(hn::InterleaveLower(f, a, b), hn::InterleaveUpper(f, a, b)));
  };
  const auto ab = pairs(x[0], x[1]), cd = pairs(x[2], x[3]);
  return sum_parts(f, hn::Add(hn::BitCast(f, hn::InterleaveLower(two, ab, cd)),
                              hn::BitCast(f, hn::InterleaveUpper(two, ab, cd))));
}

// Calls body() for each vector of a row, and line() where a cache line of it begins. All vectors of a line
// are one round of the loop: the fewer rounds, the better their end is predicted.
template <class AnyRows, class Line, class Body>
HWY_INLINE void for_row_vectors(std::int64_t dim, const Line& line, const Body& body) {
  constexpr std::int64_t kStep = kVectors<AnyRows> * kLanes;
  constexpr std::int64_t kLine = std::max<std::int64_t>(64 / sizeof(*AnyRows::data), kStep);
  for (; dim >= kLine; dim -= kLine) {
    line();
    for (std::int64_t d = 0; d < kLine; d += kStep) body();
  }
  if (dim > 0) line();
  for (; dim > 0; dim -= kStep) body();
}

// The loops below step pointers and take structures by value: so all addresses fit the general registers, and
// no store of a vector can have changed them.

// scores[j][h] = query h · row j, for kHeads queries [dim / kLanes][kHeads][kLanes] and kCount rows. Writes
// up to 3 floats more.
template <int kHeads, int kCount, class AnyRows>
HWY_INLINE void row_products(const float* query, AnyRows keys, std::int64_t dim, NextRows next,
                             float* scores) {
  const FloatTag f;
  constexpr int kSums = (kHeads * kCount + 3) / 4 * 4;
  constexpr std::int64_t kStep = kVectors<AnyRows> * kLanes;
  Floats acc[kSums];
  for (Floats& sum : acc) sum = hn::Zero(f);
  for_row_vectors<AnyRows>(
      dim, [&]() HWY_ATTR { fetch_line<kCount>(next); },
      [&]() HWY_ATTR {
        for (int part = 0; part < kVectors<AnyRows>; ++part, query += kHeads * kLanes) {
          Floats row[kCount];
          for (int n = 0; n < kCount; ++n) row[n] = row_vector(keys, n, part);
          for (int h = 0; h < kHeads; ++h) {
            const Floats q = hn::LoadU(f, query + h * kLanes);
            for (int n = 0; n < kCount; ++n) acc[n * kHeads + h] = hn::MulAdd(q, row[n], acc[n * kHeads + h]);
          }
        }
        keys.data += kStep;
      });
  for (int i = 0; i < kSums; i += 4) hn::StoreU(sum_lanes(acc + i), FourTag(), scores + i);
}

// out[h] += Σ_j weights[j][h]·row j over kCount rows, for kHeads of the heads of out [dim /
// kLanes][kOutHeads][kLanes].
template <int kHeads, int kCount, int kOutHeads = kHeads, class AnyRows>
HWY_INLINE void add_rows(const float* weights, AnyRows values, std::int64_t dim, NextRows next, float* out) {
  const FloatTag f;
  constexpr std::int64_t kStep = kVectors<AnyRows> * kLanes;
  Floats weight[kCount][kHeads];
  for (int n = 0; n < kCount; ++n) {
    for (int h = 0; h < kHeads; ++h) weight[n][h] = hn::Set(f, weights[n * kHeads + h]);
  }
  for_row_vectors<AnyRows>(
      dim, [&]() HWY_ATTR { fetch_line<kCount>(next); },
      [&]() HWY_ATTR {
        for (int part = 0; part < kVectors<AnyRows>; ++part, out += kOutHeads * kLanes) {
          Floats row[kCount];
          for (int n = 0; n < kCount; ++n) row[n] = row_vector(values, n, part);
          for (int h = 0; h < kHeads; ++h) {
            Floats sum = hn::LoadU(f, out + h * kLanes);
            for (int n = 0; n < kCount; ++n) sum = hn::MulAdd(weight[n][h], row[n], sum);
            hn::StoreU(sum, f, out + h * kLanes);
          }
        }
        values.data += kStep;
      });
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
