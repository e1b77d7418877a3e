// Loads, stores and functions shared by the row kernels, compiled once per SIMD target (Highway's
// foreach_target).
#if defined(HEADWAY_KERNELS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_VECTOR_INL_H_
#undef HEADWAY_KERNELS_CPU_VECTOR_INL_H_
#else
#define HEADWAY_KERNELS_CPU_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include <headway/core/dtype.h>

// For loop bodies: without it the two calls (whole vectors, tail) may be left as functions, accumulators in
// memory.
#undef HEADWAY_BODY
#define HEADWAY_BODY HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using VF = hn::Vec<F32>;

// How many lanes of a vector are elements: all of them, or `n` at the end of a row.
struct Whole {};
struct Tail {
  std::size_t n;
};

HWY_INLINE VF load(F32 d, const float* p, Whole) { return hn::LoadU(d, p); }
HWY_INLINE VF load(F32 d, const float* p, Tail tail) {
#if HWY_TARGET > HWY_AVX2
  // Before AVX2 a masked load reads the whole vector, and wants it aligned: go through a buffer.
  HWY_ALIGN float buffer[hn::MaxLanes(F32())] = {};
  std::memcpy(buffer, p, tail.n * sizeof(float));
  return hn::Load(d, buffer);
#else
  return hn::MaskedLoad(hn::FirstN(d, tail.n), d, p);
#endif
}
HWY_INLINE void store(F32 d, VF v, float* p, Whole) { hn::StoreU(v, d, p); }
HWY_INLINE void store(F32 d, VF v, float* p, Tail tail) { hn::BlendedStore(v, hn::FirstN(d, tail.n), d, p); }

using U16 = hn::Rebind<std::uint16_t, F32>;
using U32 = hn::Rebind<std::uint32_t, F32>;
using I32 = hn::Rebind<std::int32_t, F32>;

HWY_INLINE VF widen(hn::Vec<U16> v) { return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(U32(), v))); }
// Rounds to nearest even; a NaN keeps its upper bits and becomes quiet (as bfloat16(float) does).
HWY_INLINE hn::Vec<U16> narrow(VF v) {
  const U32 du;
  const auto word = hn::BitCast(du, v);
  const auto upper = hn::ShiftRight<16>(word);
  const auto rounded =
      hn::ShiftRight<16>(hn::Add(word, hn::Add(hn::Set(du, 0x7fffu), hn::And(upper, hn::Set(du, 1)))));
  const auto nan = hn::RebindMask(du, hn::IsNaN(v));
  return hn::TruncateTo(U16(), hn::IfThenElse(nan, hn::Or(upper, hn::Set(du, 0x40u)), rounded));
}

HWY_INLINE VF load(F32, const bfloat16* p, Whole) { return widen(hn::LoadU(U16(), &p->bits)); }
HWY_INLINE VF load(F32 d, const bfloat16* p, Tail tail) {
  // 16-bit masked loads may read whole vectors before AVX-512: go through a buffer.
  HWY_ALIGN std::uint16_t buffer[hn::MaxLanes(F32())] = {};
  (void)d;
  std::memcpy(buffer, p, tail.n * 2);
  return widen(hn::Load(U16(), buffer));
}
HWY_INLINE void store(F32, VF v, bfloat16* p, Whole) { hn::StoreU(narrow(v), U16(), &p->bits); }
HWY_INLINE void store(F32, VF v, bfloat16* p, Tail tail) {
  HWY_ALIGN std::uint16_t buffer[hn::MaxLanes(F32())];
  hn::Store(narrow(v), U16(), buffer);
  std::memcpy(static_cast<void*>(p), buffer, tail.n * 2);
}

// Lanes outside the row replaced by `fill`: for reductions where 0 is not neutral.
HWY_INLINE VF only(F32, VF v, VF, Whole) { return v; }
HWY_INLINE VF only(F32 d, VF v, VF fill, Tail tail) { return hn::IfThenElse(hn::FirstN(d, tail.n), v, fill); }

// body(i, part) for i = 0, L, 2L, … below n.
template <class Body>
HWY_INLINE void for_vectors(std::int64_t n, Body&& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(F32()));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i, Whole{});
  if (i < n) body(i, Tail{static_cast<std::size_t>(n - i)});
}

HWY_INLINE float total(VF v) { return hn::GetLane(hn::SumOfLanes(F32(), v)); }

// e^x to about one unit in the last place: x = n·ln 2 + r with |r| <= ln 2 / 2, e^r = 1 + r + r²·P(r) where P
// is the Chebyshev fit of degree 4 (relative error 8e-9). Below -87.34 (-inf included) it gives 0, above 88.8
// infinity; NaN stays NaN: hn::Min returns its second operand then.
HWY_INLINE VF exp_of(VF x) {
  const F32 d;
  const I32 di;
  const VF bounded = hn::Min(hn::Set(d, 88.8f), x);
  const VF n = hn::Round(hn::Mul(bounded, hn::Set(d, 1.44269504f)));
  // ln 2 in two parts, the first with few enough bits that n times it is exact.
  VF r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), bounded);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  VF p = hn::MulAdd(hn::Set(d, 0.001392632562f), r, hn::Set(d, 0.008363292753f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166655376f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.1666657631f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.0f));
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33f)), hn::Mul(p, hn::BitCast(d, power)));
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
