// tanh of small numbers, to their own rounding: what exponentials give of it is right to the rounding of 1.
#if defined(HEADWAY_KERNELS_CPU_TANH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_TANH_INL_H_
#undef HEADWAY_KERNELS_CPU_TANH_INL_H_
#else
#define HEADWAY_KERNELS_CPU_TANH_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

constexpr float kSmallForTanh = 0.625f;

// tanh(u) / u - 1 for |u| below kSmallForTanh, from u² (Cephes' tanhf: relative error of the whole 1e-7).
HWY_INLINE hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::ScalableTag<float>> small_tanh_excess(
    hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::ScalableTag<float>> square) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> f;
  auto p = hn::MulAdd(hn::Set(f, -5.70498872745e-3f), square, hn::Set(f, 2.06390887954e-2f));
  p = hn::MulAdd(p, square, hn::Set(f, -5.37397155531e-2f));
  p = hn::MulAdd(p, square, hn::Set(f, 1.33314422036e-1f));
  p = hn::MulAdd(p, square, hn::Set(f, -3.33332819422e-1f));
  return hn::Mul(p, square);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEADWAY_KERNELS_CPU_TANH_INL_H_
