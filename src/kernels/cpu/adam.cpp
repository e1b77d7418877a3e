#include <headway/kernels/adam.h>

#include <cstring>

#include <headway/core/error.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adam.cpp"
#include <hwy/foreach_target.h>  // NOLINT(misc-header-include-cycle): this file is compiled once for each ISA
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The last, partial vector goes through zero-filled copies, so that a tail is computed like any other
// element.
template <typename T>
struct Tail {
  static constexpr std::size_t kLanes = HWY_MAX_BYTES / sizeof(T);
  alignas(HWY_MAX_BYTES) T lanes[kLanes] = {};
  Tail(const T* from, std::size_t count) { std::memcpy(lanes, from, count * sizeof(T)); }
  void put(T* to, std::size_t count) const { std::memcpy(to, lanes, count * sizeof(T)); }
};

template <typename T>
struct AdamVectors {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<hn::ScalableTag<T>>;
  V keep1, add1, keep2, add2, eps, rate, second_scale, scale, coupled, shrink;

  explicit AdamVectors(const AdamFactors& f)
      : keep1(set(f.beta1)),
        add1(set(1 - f.beta1)),
        keep2(set(f.beta2)),
        add2(set(1 - f.beta2)),
        eps(set(f.eps)),
        rate(set(-f.rate)),
        second_scale(set(f.second_scale)),
        scale(set(f.gradient_scale)),
        coupled(set(f.coupled_decay)),
        shrink(set(f.shrink)) {}
  V set(double value) const { return hn::Set(d, static_cast<T>(value)); }

  HWY_INLINE void update(T* weight, const T* gradient, T* first, T* second) const {
    const V w = hn::LoadU(d, weight);
    const V g = hn::MulAdd(coupled, w, hn::Mul(hn::LoadU(d, gradient), scale));
    const V m = hn::MulAdd(keep1, hn::LoadU(d, first), hn::Mul(add1, g));
    const V v = hn::MulAdd(keep2, hn::LoadU(d, second), hn::Mul(add2, hn::Mul(g, g)));
    const V denominator = hn::MulAdd(hn::Sqrt(v), second_scale, eps);
    hn::StoreU(m, d, first);
    hn::StoreU(v, d, second);
    hn::StoreU(hn::MulAdd(rate, hn::Div(m, denominator), hn::Mul(shrink, w)), d, weight);
  }
};

template <typename T>
void adam_of(T* weight, const T* gradient, T* first, T* second, std::int64_t count,
             const AdamFactors& factors) {
  const AdamVectors<T> vectors(factors);
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(vectors.d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) vectors.update(weight + i, gradient + i, first + i, second + i);
  if (i == count) return;
  const auto rest = static_cast<std::size_t>(count - i);
  Tail<T> w(weight + i, rest), g(gradient + i, rest), m(first + i, rest), v(second + i, rest);
  vectors.update(w.lanes, g.lanes, m.lanes, v.lanes);
  w.put(weight + i, rest);
  m.put(first + i, rest);
  v.put(second + i, rest);
}

double sum_of_squares_f32(const float* x, std::int64_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  // Four sums in flight hide the latency of the multiply-add.
  auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  const auto square = [&](const float* at, auto& sum) HWY_ATTR {
    const auto v = hn::PromoteTo(d, hn::LoadU(half, at));
    sum = hn::MulAdd(v, v, sum);
  };
  std::int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    square(x + i, s0);
    square(x + i + lanes, s1);
    square(x + i + 2 * lanes, s2);
    square(x + i + 3 * lanes, s3);
  }
  double rest = 0;
  for (; i < count; ++i) rest += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)))) + rest;
}

double sum_of_squares_f64(const double* x, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += x[i] * x[i];
  return sum;
}

template <typename T>
void blend_of(T* average, const T* x, std::int64_t count, double keep) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto old_share = hn::Set(d, static_cast<T>(keep));
  const auto new_share = hn::Set(d, static_cast<T>(1 - keep));
  const auto update = [&](T* a, const T* b) HWY_ATTR {
    hn::StoreU(hn::MulAdd(old_share, hn::LoadU(d, a), hn::Mul(new_share, hn::LoadU(d, b))), d, a);
  };
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) update(average + i, x + i);
  if (i == count) return;
  const auto rest = static_cast<std::size_t>(count - i);
  Tail<T> a(average + i, rest), b(x + i, rest);
  update(a.lanes, b.lanes);
  a.put(average + i, rest);
}

void adam_f32(float* w, const float* g, float* m, float* v, std::int64_t n, const AdamFactors& f) {
  adam_of(w, g, m, v, n, f);
}
void adam_f64(double* w, const double* g, double* m, double* v, std::int64_t n, const AdamFactors& f) {
  adam_of(w, g, m, v, n, f);
}
void blend_f32(float* a, const float* x, std::int64_t n, double keep) { blend_of(a, x, n, keep); }
void blend_f64(double* a, const double* x, std::int64_t n, double keep) { blend_of(a, x, n, keep); }

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
HWY_EXPORT(adam_f32);
HWY_EXPORT(adam_f64);
HWY_EXPORT(blend_f32);
HWY_EXPORT(blend_f64);
HWY_EXPORT(sum_of_squares_f32);
HWY_EXPORT(sum_of_squares_f64);

namespace {
[[noreturn]] void refuse(const char* kernel) {
  fail(ErrorCode::dtype, kernel, "parameters are neither float32 nor float64");
}
}  // namespace

void adam(DType dtype, void* weight, const void* gradient, void* first, void* second, std::int64_t count,
          const AdamFactors& factors) {
  if (dtype == DType::float32) {
    HWY_DYNAMIC_DISPATCH(adam_f32)
    (static_cast<float*>(weight), static_cast<const float*>(gradient), static_cast<float*>(first),
     static_cast<float*>(second), count, factors);
  } else if (dtype == DType::float64) {
    HWY_DYNAMIC_DISPATCH(adam_f64)
    (static_cast<double*>(weight), static_cast<const double*>(gradient), static_cast<double*>(first),
     static_cast<double*>(second), count, factors);
  } else {
    refuse("adam");
  }
}

double sum_of_squares(DType dtype, const void* x, std::int64_t count) {
  if (dtype == DType::float32)
    return HWY_DYNAMIC_DISPATCH(sum_of_squares_f32)(static_cast<const float*>(x), count);
  if (dtype == DType::float64)
    return HWY_DYNAMIC_DISPATCH(sum_of_squares_f64)(static_cast<const double*>(x), count);
  refuse("sum_of_squares");
}

void blend(DType dtype, void* average, const void* x, std::int64_t count, double keep) {
  if (dtype == DType::float32) {
    HWY_DYNAMIC_DISPATCH(blend_f32)(static_cast<float*>(average), static_cast<const float*>(x), count, keep);
  } else if (dtype == DType::float64) {
    HWY_DYNAMIC_DISPATCH(blend_f64)
    (static_cast<double*>(average), static_cast<const double*>(x), count, keep);
  } else {
    refuse("blend");
  }
}

}  // namespace headway::inline v1::kernels
#endif  // HWY_ONCE
