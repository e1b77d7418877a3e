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

// Rows that come next, `row` bytes apart, fetched into the L2 cache while others are multiplied.
struct NextRows {
  const char* rows = nullptr;
  std::int64_t row = 0;
};
// Fetches `bytes` of kCount rows and steps past them. Where vectors are shorter than cache lines a line is
// asked for again: a processor drops what it is asked for faster than memory delivers.
template <int kCount>
HWY_INLINE void fetch(NextRows& next, std::int64_t bytes) {
  for (std::int64_t begin = 0; begin < bytes; begin += 64) {
    for (int n = 0; n < kCount; ++n) __builtin_prefetch(next.rows + n * next.row + begin, 0, 2);
  }
  next.rows += bytes;
}

// Makes `x` a register's: compilers otherwise read it from memory again for each product, and the ports that
// load are as busy as those that multiply.
HWY_INLINE void keep(Floats& x) {
#if HWY_ARCH_X86
  asm("" : "+v"(x.raw));
#else
  (void)x;
#endif
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
HWY_INLINE hn::Vec<FourTag> sum_lanes(Floats x0, Floats x1, Floats x2, Floats x3) {
  const FloatTag f;
  const hn::Repartition<double, FloatTag> two;
  const auto pairs = [&](Floats a, Floats b) HWY_ATTR {  // a02 b02 a13 b13 of every 16 bytes
    return hn::BitCast(two, hn::Add(hn::InterleaveLower(f, a, b), hn::InterleaveUpper(f, a, b)));
  };
  const auto ab = pairs(x0, x1), cd = pairs(x2, x3);
  return sum_parts(f, hn::Add(hn::BitCast(f, hn::InterleaveLower(two, ab, cd)),
                              hn::BitCast(f, hn::InterleaveUpper(two, ab, cd))));
}

// The loops below step pointers and take structures by value: so all addresses fit the general registers, and
// no store of a vector can have changed them. `dim` is one vector or more.

// scores[j][h] = query h · row j, for kHeads queries [dim / kLanes][kHeads][kLanes] and kCount rows. Writes
// up to 3 floats more.
template <int kHeads, int kCount, class AnyRows>
HWY_INLINE void row_products(const float* query, AnyRows keys, std::int64_t dim, NextRows next,
                             float* scores) {
  const FloatTag f;
  constexpr int kParts = kVectors<AnyRows>;
  constexpr int kSums = (kHeads * kCount + 3) / 4 * 4;
  Floats acc[kSums];
  for (Floats& sum : acc) sum = hn::Zero(f);
  const auto* end = keys.data + dim;
  do {
    fetch<kCount>(next, kParts * kLanes * sizeof(*keys.data));
    for (int part = 0; part < kParts; ++part, query += kHeads * kLanes) {
      Floats row[kCount];
      for (int n = 0; n < kCount; ++n) {
        row[n] = row_vector(keys, n, part);
        keep(row[n]);
      }
      for (int h = 0; h < kHeads; ++h) {
        Floats q = hn::LoadU(f, query + h * kLanes);
        keep(q);
        for (int n = 0; n < kCount; ++n) {
          Floats& sum = acc[n * kHeads + h];
          sum = hn::MulAdd(q, row[n], sum);
          if (part + 1 < kParts) keep(sum);  // parts apart: mixed, they need more registers than there are
        }
      }
    }
    keys.data += kParts * kLanes;
  } while (keys.data != end);
  for (int i = 0; i < kSums; i += 4)
    hn::StoreU(sum_lanes(acc[i], acc[i + 1], acc[i + 2], acc[i + 3]), FourTag(), scores + i);
}

// out[h] += Σ_j weights[j][h]·row j over kCount rows, for kHeads of the heads of out [dim /
// kLanes][kOutHeads][kLanes].
template <int kHeads, int kCount, int kOutHeads = kHeads, class AnyRows>
HWY_INLINE void add_rows(const float* weights, AnyRows values, std::int64_t dim, NextRows next, float* out) {
  const FloatTag f;
  constexpr int kParts = kVectors<AnyRows>;
  Floats weight[kCount][kHeads];
  for (int n = 0; n < kCount; ++n) {
    for (int h = 0; h < kHeads; ++h) weight[n][h] = hn::Set(f, weights[n * kHeads + h]);
  }
  const auto* end = values.data + dim;
  do {
    fetch<kCount>(next, kParts * kLanes * sizeof(*values.data));
    for (int part = 0; part < kParts; ++part, out += kOutHeads * kLanes) {
      Floats row[kCount];
      for (int n = 0; n < kCount; ++n) row[n] = row_vector(values, n, part);
      for (int h = 0; h < kHeads; ++h) {
        Floats sum = hn::LoadU(f, out + h * kLanes);
        for (int n = 0; n < kCount; ++n) sum = hn::MulAdd(weight[n][h], row[n], sum);
        hn::StoreU(sum, f, out + h * kLanes);
      }
    }
    values.data += kParts * kLanes;
  } while (values.data != end);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
