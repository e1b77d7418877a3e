// Vector functions shared by the kernels, compiled once for each instruction set. Per-target guard, as
// Highway wants.
#if defined(HEADWAY_KERNELS_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_SIMD_INL_H_
#undef HEADWAY_KERNELS_CPU_SIMD_INL_H_
#else
#define HEADWAY_KERNELS_CPU_SIMD_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include <headway/core/dtype.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::ScalableTag<std::int32_t>;
using WordTag = hn::ScalableTag<std::uint32_t>;
using Floats = hn::Vec<FloatTag>;
using Words = hn::Vec<WordTag>;
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(FloatTag()));

// 2^x for x < 128, relative error below 1.5e-7 (a minimax polynomial of degree 5 on [-1/2, 1/2], fitted by
// us). Below -126.5 it is 0, so -inf gives 0; NaN stays NaN.
HWY_INLINE Floats exp2(Floats x) {
  const FloatTag f;
  const IntTag i;
  // x86's max gives its second operand where one is NaN.
  const Floats clamped = hn::Max(hn::Set(f, -127.f), x);
  // Beside 1.5·2^23 the last bit of a float is worth 1: the sum is x rounded, and its low bits are that
  // integer plus 127, an exponent.
  const Floats magic = hn::Set(f, 12582912.f + 127.f);
  const Floats shifted = hn::Add(clamped, magic);
  const Floats r = hn::Sub(clamped, hn::Sub(shifted, magic));
  Floats p = hn::Set(f, 1.327638785998897e-3f);
  p = hn::MulAdd(p, r, hn::Set(f, 9.675519384163334e-3f));
  p = hn::MulAdd(p, r, hn::Set(f, 5.550713316842143e-2f));
  p = hn::MulAdd(p, r, hn::Set(f, 2.4022120142933878e-1f));
  p = hn::MulAdd(p, r, hn::Set(f, 6.931469671838598e-1f));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0000000715661854f));
  return hn::Mul(p, hn::BitCast(f, hn::ShiftLeft<23>(hn::BitCast(i, shifted))));
}

// High words of 32x32-bit products.
HWY_INLINE Words mul_high(Words a, Words b) {
  const WordTag w;
  const hn::RepartitionToWide<WordTag> wide;
  const auto even = hn::MulEven(a, b);
  const auto odd = hn::MulEven(hn::BitCast(w, hn::ShiftRight<32>(hn::BitCast(wide, a))),
                               hn::BitCast(w, hn::ShiftRight<32>(hn::BitCast(wide, b))));
  return hn::OddEven(hn::BitCast(w, odd), hn::BitCast(w, hn::ShiftRight<32>(even)));
}

// core::philox, a vector of counters at a time; the same bits.
HWY_INLINE void philox(Words& c0, Words& c1, Words& c2, Words& c3, std::uint64_t key) {
  const WordTag w;
  const Words m0 = hn::Set(w, 0xD2511F53u);
  const Words m1 = hn::Set(w, 0xCD9E8D57u);
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const Words high0 = mul_high(c0, m0);
    const Words low0 = hn::Mul(c0, m0);
    const Words high1 = mul_high(c2, m1);
    const Words low1 = hn::Mul(c2, m1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(w, k0));
    c1 = low1;
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(w, k1));
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// The factor of what is moved as it is: words that are no floats.
struct Unscaled {};
template <class Tag, class V>
HWY_INLINE V scaled(Tag f, V x, float factor) {
  return hn::Mul(hn::Set(f, factor), x);
}
template <class Tag, class V>
HWY_INLINE V scaled(Tag, V x, Unscaled) {
  return x;
}
inline float scaled(float x, float factor) { return x * factor; }
inline float scaled(float x, Unscaled) { return x; }

// Calls put(c, vector) for a strip of 4 columns, as many rows as `Tag` has floats, of which load(i) has row i
// or, of 8 rows, in its upper half row i + 4: element i of the vector is in[i][c]·factor. A square of 4 x 4
// in every 16 bytes.
template <class Tag, class Load, class Factor, class Put>
HWY_INLINE void transpose_strip(Tag f, const Load& load, Factor factor, const Put& put) {
  const hn::Repartition<double, Tag> two;
  const auto row0 = scaled(f, load(0), factor), row1 = scaled(f, load(1), factor),
             row2 = scaled(f, load(2), factor), row3 = scaled(f, load(3), factor);
  const auto low01 = hn::BitCast(two, hn::InterleaveLower(f, row0, row1));   // 00 10 01 11
  const auto low23 = hn::BitCast(two, hn::InterleaveLower(f, row2, row3));   // 20 30 21 31
  const auto high01 = hn::BitCast(two, hn::InterleaveUpper(f, row0, row1));  // 02 12 03 13
  const auto high23 = hn::BitCast(two, hn::InterleaveUpper(f, row2, row3));
  put(0, hn::BitCast(f, hn::InterleaveLower(two, low01, low23)));
  put(1, hn::BitCast(f, hn::InterleaveUpper(two, low01, low23)));
  put(2, hn::BitCast(f, hn::InterleaveLower(two, high01, high23)));
  put(3, hn::BitCast(f, hn::InterleaveUpper(two, high01, high23)));
}

// Rows of one strip: 8 where a register holds them.
#if HWY_MAX_BYTES >= 32
constexpr std::int64_t kStripRows = 8;
#else
constexpr std::int64_t kStripRows = 4;
#endif

using StripTag = hn::FixedTag<float, kStripRows>;

// Of kRows rows, 4 or as many as a strip has.
template <std::int64_t kRows, class Factor, class Put>
HWY_INLINE void transpose_rows(const float* in, std::int64_t in_row, Factor factor, const Put& put) {
  const hn::FixedTag<float, kRows> f;
  const hn::FixedTag<float, 4> four;
  const auto load = [&](std::int64_t r) HWY_ATTR {
#if HWY_MAX_BYTES >= 32
    if constexpr (kRows == 8)
      return hn::Combine(f, hn::LoadU(four, in + (r + 4) * in_row), hn::LoadU(four, in + r * in_row));
    else
#endif
      return hn::LoadU(four, in + r * in_row);
  };
  transpose_strip(f, load, factor, put);
}

// out[c·out_row + i] = in[i·in_row + c]·factor for 4 columns.
template <std::int64_t kRows, class Factor>
HWY_INLINE void transpose_rows(const float* in, std::int64_t in_row, Factor factor, float* out,
                               std::int64_t out_row) {
  const hn::FixedTag<float, kRows> f;
  transpose_rows<kRows>(in, in_row, factor,
                        [&](std::int64_t c, auto x) HWY_ATTR { hn::StoreU(x, f, out + c * out_row); });
}

// out[c·out_row + r] = in[r·in_row + c]·factor for rows x columns, in strips; along the side whose rows lie
// farther apart, so that their lines are used up before they leave the cache.
template <class Factor>
void transpose(const float* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns, Factor factor,
               float* out, std::int64_t out_row) {
  const std::int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  const std::int64_t strips = rows / kStripRows * kStripRows;
  const auto strip = [&](std::int64_t r, std::int64_t c) HWY_ATTR {
    transpose_rows<kStripRows>(in + r * in_row + c, in_row, factor, out + c * out_row + r, out_row);
  };
  const auto square = [&](std::int64_t r, std::int64_t c) HWY_ATTR {
    transpose_rows<4>(in + r * in_row + c, in_row, factor, out + c * out_row + r, out_row);
  };
  if (in_row >= out_row) {
    std::int64_t r = 0;
    for (; r < strips; r += kStripRows) {
      for (std::int64_t c = 0; c < whole_columns; c += 4) strip(r, c);
    }
    for (; r < whole_rows; r += 4) {
      for (std::int64_t c = 0; c < whole_columns; c += 4) square(r, c);
    }
  } else {
    for (std::int64_t c = 0; c < whole_columns; c += 4) {
      std::int64_t r = 0;
      for (; r < strips; r += kStripRows) strip(r, c);
      for (; r < whole_rows; r += 4) square(r, c);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      out[c * out_row + r] = scaled(in[r * in_row + c], factor);
  }
}

// A vector of bfloat16, which is a float's upper half.
HWY_INLINE Floats load_floats(const bfloat16* in) {
  const WordTag w;
  const hn::Rebind<std::uint16_t, WordTag> half;
  const auto words = hn::PromoteTo(w, hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(in)));
  return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(words));
}
HWY_INLINE Floats load_floats(const float* in) { return hn::LoadU(FloatTag(), in); }
inline void to_floats(const bfloat16* in, std::int64_t count, float* out) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(load_floats(in + i), FloatTag(), out + i);
  for (; i < count; ++i) out[i] = static_cast<float>(in[i]);
}
inline void from_floats(const float* in, std::int64_t count, bfloat16* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = bfloat16(in[i]);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
