// Pairs of bfloat16: a 32-bit word holds two elements, the first in its lower half, and a product of two
// words is the sum of both products.
#if defined(HEADWAY_KERNELS_CPU_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_PAIRS_INL_H_
#undef HEADWAY_KERNELS_CPU_PAIRS_INL_H_
#else
#define HEADWAY_KERNELS_CPU_PAIRS_INL_H_
#endif

#include <cstdint>

#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Older instruction sets have nothing to gain; AVX2 computes the same by widening, for the tests.
constexpr bool kPairs = HWY_TARGET <= HWY_AVX2;

HWY_INLINE Floats low_halves(Floats pairs) {
  const WordTag w;
  return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::BitCast(w, pairs)));
}
HWY_INLINE Floats high_halves(Floats pairs) {
  const WordTag w;
  return hn::BitCast(FloatTag(), hn::And(hn::BitCast(w, pairs), hn::Set(w, 0xffff0000u)));
}

// x rounded to nearest even, as bfloat16(x) is, in the lower half of each word.
HWY_INLINE Words rounded_halves(Floats x) {
  const WordTag w;
  const Words word = hn::BitCast(w, x), upper = hn::ShiftRight<16>(word);
  const Words last = hn::And(upper, hn::Set(w, 1));
  const Words rounded = hn::ShiftRight<16>(hn::Add(word, hn::Add(last, hn::Set(w, 0x7fffu))));
  const auto nan = hn::RebindMask(w, hn::IsNaN(x));
  return hn::IfThenElse(nan, hn::Or(upper, hn::Set(w, 0x40u)), rounded);
}

// The instructions of AVX512_BF16, written as such: Highway 1.0 has no target with them, and an intrinsic
// would want every function around it compiled for one. Only multiplies_pairs() leads here.
#if HWY_TARGET <= HWY_AVX3

// sum + x's lower halves · y's + x's upper halves · y's
HWY_INLINE Floats add_pair_product(Floats x, Floats y, Floats sum) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(y.raw));
  return sum;
}

// Pairs of (first, second), rounded.
HWY_INLINE Floats join_halves(Floats first, Floats second) {
  alignas(64) static constexpr std::uint16_t kInterleaved[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                                 21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                                 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  __m512i halves;
  asm("vcvtne2ps2bf16 %2, %1, %0" : "=v"(halves) : "v"(second.raw), "v"(first.raw));
  const __m512i words = _mm512_permutexvar_epi16(_mm512_load_si512(kInterleaved), halves);
  return hn::BitCast(FloatTag(), Words{words});
}

// kLanes elements, rounded, one after another.
HWY_INLINE void store_halves(Floats x, void* out) {
  __m256i halves;
  asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(x.raw));
  _mm256_storeu_si256(static_cast<__m256i*>(out), halves);
}

#else

HWY_INLINE Floats add_pair_product(Floats x, Floats y, Floats sum) {
  return hn::MulAdd(low_halves(x), low_halves(y), hn::MulAdd(high_halves(x), high_halves(y), sum));
}
HWY_INLINE Floats join_halves(Floats first, Floats second) {
  const Words words = hn::Or(rounded_halves(first), hn::ShiftLeft<16>(rounded_halves(second)));
  return hn::BitCast(FloatTag(), words);
}
HWY_INLINE void store_halves(Floats x, void* out) {
  const IntTag n;
  const hn::Rebind<std::uint16_t, IntTag> half;
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(n, rounded_halves(x))), half, static_cast<std::uint16_t*>(out));
}

#endif

// Two rows of bfloat16 as one of pairs, zeros up to `width`; `second` null: zeros.
inline void join_rows(const bfloat16* first, const bfloat16* second, std::int64_t count, float* out,
                      std::int64_t width) {
  const FloatTag f;
  const WordTag w;
  const auto high = [&](std::int64_t d) HWY_ATTR { return hn::BitCast(w, load_floats(second + d)); };
  const auto low = [&](std::int64_t d)
                       HWY_ATTR { return hn::ShiftRight<16>(hn::BitCast(w, load_floats(first + d))); };
  std::int64_t d = 0;
  for (; d + kLanes <= count; d += kLanes)
    hn::StoreU(hn::BitCast(f, second ? hn::Or(low(d), high(d)) : low(d)), f, out + d);
  for (; d < width; ++d) {
    const bfloat16 pair[2] = {d < count ? first[d] : bfloat16(),
                              d < count && second ? second[d] : bfloat16()};
    std::memcpy(out + d, pair, sizeof(pair));
  }
}

// How words of 32 bits are multiplied in a product of matrices.
struct AsFloats {
  static HWY_INLINE Floats add(Floats x, Floats y, Floats sum) { return hn::MulAdd(x, y, sum); }
  // The same, where 0 on either side multiplies nothing.
  static HWY_INLINE Floats add_seen(Floats x, Floats y, Floats sum) {
    const Floats zero = hn::Zero(FloatTag());
    return hn::IfThenElse(hn::Or(hn::Eq(x, zero), hn::Eq(y, zero)), sum, hn::MulAdd(x, y, sum));
  }
};
struct AsPairs {
  static HWY_INLINE Floats add(Floats x, Floats y, Floats sum) { return add_pair_product(x, y, sum); }
  static HWY_INLINE Floats add_seen(Floats x, Floats y, Floats sum) {
    const Floats lower = AsFloats::add_seen(low_halves(x), low_halves(y), sum);
    return AsFloats::add_seen(high_halves(x), high_halves(y), lower);
  }
};

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
