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
  // integer.
  const Floats magic = hn::Set(f, 12582912.f);
  const Floats shifted = hn::Add(clamped, magic);
  const Floats r = hn::Sub(clamped, hn::Sub(shifted, magic));
  Floats p = hn::Set(f, 1.327638785998897e-3f);
  p = hn::MulAdd(p, r, hn::Set(f, 9.675519384163334e-3f));
  p = hn::MulAdd(p, r, hn::Set(f, 5.550713316842143e-2f));
  p = hn::MulAdd(p, r, hn::Set(f, 2.4022120142933878e-1f));
  p = hn::MulAdd(p, r, hn::Set(f, 6.931469671838598e-1f));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0000000715661854f));
  const auto power = hn::Add(hn::ShiftLeft<23>(hn::BitCast(i, shifted)), hn::Set(i, 127 << 23));
  return hn::Mul(p, hn::BitCast(f, power));
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

// out[c·out_row + i] = in[i·in_row + c]·factor for a square of 4 x 4.
HWY_INLINE void transpose_square(const float* in, std::int64_t in_row, float factor, float* out,
                                 std::int64_t out_row) {
  const hn::FixedTag<float, 4> four;
  const hn::FixedTag<double, 2> two;
  const auto scale = hn::Set(four, factor);
  const auto row0 = hn::Mul(scale, hn::LoadU(four, in)), row1 = hn::Mul(scale, hn::LoadU(four, in + in_row)),
             row2 = hn::Mul(scale, hn::LoadU(four, in + 2 * in_row)),
             row3 = hn::Mul(scale, hn::LoadU(four, in + 3 * in_row));
  const auto low01 = hn::BitCast(two, hn::InterleaveLower(four, row0, row1));   // 00 10 01 11
  const auto low23 = hn::BitCast(two, hn::InterleaveLower(four, row2, row3));   // 20 30 21 31
  const auto high01 = hn::BitCast(two, hn::InterleaveUpper(four, row0, row1));  // 02 12 03 13
  const auto high23 = hn::BitCast(two, hn::InterleaveUpper(four, row2, row3));
  hn::StoreU(hn::BitCast(four, hn::InterleaveLower(two, low01, low23)), four, out);
  hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(two, low01, low23)), four, out + out_row);
  hn::StoreU(hn::BitCast(four, hn::InterleaveLower(two, high01, high23)), four, out + 2 * out_row);
  hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(two, high01, high23)), four, out + 3 * out_row);
}

// out[c·out_row + r] = in[r·in_row + c]·factor for rows x columns, in squares; along the side whose rows lie
// farther apart, so that their lines are used up before they leave the cache.
inline void transpose(const float* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns,
                      float factor, float* out, std::int64_t out_row) {
  const std::int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  if (in_row >= out_row) {
    for (std::int64_t r = 0; r < whole_rows; r += 4) {
      for (std::int64_t c = 0; c < whole_columns; c += 4)
        transpose_square(in + r * in_row + c, in_row, factor, out + c * out_row + r, out_row);
    }
  } else {
    for (std::int64_t c = 0; c < whole_columns; c += 4) {
      for (std::int64_t r = 0; r < whole_rows; r += 4)
        transpose_square(in + r * in_row + c, in_row, factor, out + c * out_row + r, out_row);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      out[c * out_row + r] = in[r * in_row + c] * factor;
  }
}

inline void to_floats(const bfloat16* in, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i]);
}
inline void from_floats(const float* in, std::int64_t count, bfloat16* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = bfloat16(in[i]);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
