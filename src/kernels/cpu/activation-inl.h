// Activation functions of a vector of floats, shared by the elementwise kernel and the products that end in
// one: both give the same bits.
#if defined(HEADWAY_KERNELS_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ACTIVATION_INL_H_
#undef HEADWAY_KERNELS_CPU_ACTIVATION_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ACTIVATION_INL_H_
#endif

#include <kernels/cpu/tanh-inl.h>
#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Φ(x) and φ(x)·√(2π) = exp(-x²/2). For z = |x|/√2, erfc(z)·exp(z²) = t·P(t) with t = 1/(1 + 0.4·z), P the
// Chebyshev fit of degree 9 on z <= 9.3 (relative error 4e-9; beyond, exp(-z²) is 0): one exponential serves
// both.
struct Normal {
  VF cdf, bell;
};
HWY_INLINE Normal normal_of(VF x) {
  const F32 d;
  const VF z = hn::Mul(hn::Abs(x), hn::Set(d, 0.707106781f));
  const VF t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(z, hn::Set(d, 0.4f), hn::Set(d, 1.0f)));
  VF p = hn::MulAdd(hn::Set(d, -0.03465847618f), t, hn::Set(d, 0.2253485376f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.5626589137f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.6319553308f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.3541007198f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.3091756819f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.116967181f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.2176178046f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.2246302597f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.2257233149f));
  const VF bell = exp_of(hn::Mul(hn::Set(d, -0.5f), hn::Mul(x, x)));
  const VF tail = hn::Mul(hn::Mul(hn::Set(d, 0.5f), bell), hn::Mul(t, p));  // Φ(-|x|)
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail)), bell};
}

HWY_INLINE VF sigmoid(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp_of(hn::Neg(x))));
}

// 2·sigmoid(2x) - 1, or x·(1 + x²·P(x²))
HWY_INLINE VF tanh_of(VF x) {
  const F32 d;
  const VF far = hn::MulSub(hn::Set(d, 2.0f), sigmoid(hn::Add(x, x)), hn::Set(d, 1.0f));
  const VF near = hn::MulAdd(x, small_tanh_excess(hn::Mul(x, x)), x);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, kSmallForTanh)), near, far);
}

HWY_INLINE VF relu_of(VF x) {  // NaN stays NaN
  return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(F32())), x);
}
HWY_INLINE VF gelu_of(VF x) { return hn::Mul(x, normal_of(x).cdf); }
HWY_INLINE VF silu_of(VF x) { return hn::Mul(x, sigmoid(x)); }

// 0.5·x·(1 + tanh u) = x·sigmoid(2u) with u = √(2/π)·(x + 0.044715·x³). Its slope, with s = sigmoid(2u):
// s + x·s·(1 - s)·2u'.
HWY_INLINE VF doubled_gelu_argument(VF x) {
  const F32 d;
  const VF cubic = hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.0713548163f), hn::Set(d, 1.59576912f));
  return hn::Mul(x, cubic);
}
HWY_INLINE VF gelu_tanh_of(VF x) { return hn::Mul(x, sigmoid(doubled_gelu_argument(x))); }
HWY_INLINE VF gelu_tanh_slope(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f);
  // Beyond 16 the slope is 0 or 1 to the last bit, while x³ would overflow; NaN stays NaN.
  const VF near = hn::Min(hn::Set(d, 16.0f), hn::Max(hn::Set(d, -16.0f), x));
  const VF s = sigmoid(doubled_gelu_argument(near));
  const VF rise = hn::MulAdd(hn::Mul(near, near), hn::Set(d, 0.214064449f), hn::Set(d, 1.59576912f));
  return hn::MulAdd(hn::Mul(near, hn::Mul(s, hn::Sub(one, s))), rise, s);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
