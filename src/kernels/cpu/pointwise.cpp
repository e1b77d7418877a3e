#include <headway/kernels/pointwise.h>

#include <headway/core/dtype.h>
#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pointwise.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/activation-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

template <Unary F>
HWY_INLINE VF value_of(VF x) {
  [[maybe_unused]] const F32 d;
  if constexpr (F == Unary::relu) return relu_of(x);
  if constexpr (F == Unary::gelu) return gelu_of(x);
  if constexpr (F == Unary::gelu_tanh) return gelu_tanh_of(x);
  if constexpr (F == Unary::silu) return silu_of(x);
  if constexpr (F == Unary::tanh) return tanh_of(x);
  if constexpr (F == Unary::rsqrt) return hn::Div(hn::Set(d, 1.0f), hn::Sqrt(x));
}

template <Unary F>
HWY_INLINE VF slope_of(VF saved) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f);
  if constexpr (F == Unary::relu) return hn::IfThenElseZero(hn::Gt(saved, hn::Zero(d)), one);
  if constexpr (F == Unary::gelu) {
    const Normal normal = normal_of(saved);
    return hn::MulAdd(hn::Mul(saved, hn::Set(d, 0.398942280f)), normal.bell, normal.cdf);
  }
  if constexpr (F == Unary::gelu_tanh) return gelu_tanh_slope(saved);
  if constexpr (F == Unary::silu) {
    const VF s = sigmoid(saved);
    return hn::Mul(s, hn::MulAdd(saved, hn::Sub(one, s), one));
  }
  if constexpr (F == Unary::tanh) {
    const VF y = tanh_of(saved);
    return hn::NegMulAdd(y, y, one);
  }
  if constexpr (F == Unary::rsqrt) {
    return hn::Mul(hn::Set(d, -0.5f), hn::Div(one, hn::Mul(saved, hn::Sqrt(saved))));
  }
}

template <Unary F, typename T>
void forward_loop(const T* x, T* y, std::int64_t count) {
  const F32 d;
  for_vectors(count, [&](std::int64_t i, auto part)
                         HEADWAY_BODY { store(d, value_of<F>(load(d, x + i, part)), y + i, part); });
}
template <Unary F, typename T>
void backward_loop(const T* saved, const T* dy, T* dx, std::int64_t count) {
  const F32 d;
  for_vectors(count, [&](std::int64_t i, auto part) HEADWAY_BODY {
    store(d, hn::Mul(load(d, dy + i, part), slope_of<F>(load(d, saved + i, part))), dx + i, part);
  });
}

template <typename T>
void unary_range(Unary function, const T* x, T* y, std::int64_t count) {
  switch (function) {
    case Unary::relu:
      return forward_loop<Unary::relu>(x, y, count);
    case Unary::gelu:
      return forward_loop<Unary::gelu>(x, y, count);
    case Unary::gelu_tanh:
      return forward_loop<Unary::gelu_tanh>(x, y, count);
    case Unary::silu:
      return forward_loop<Unary::silu>(x, y, count);
    case Unary::tanh:
      return forward_loop<Unary::tanh>(x, y, count);
    case Unary::rsqrt:
      return forward_loop<Unary::rsqrt>(x, y, count);
  }
}
template <typename T>
void unary_backward_range(Unary function, const T* saved, const T* dy, T* dx, std::int64_t count) {
  switch (function) {
    case Unary::relu:
      return backward_loop<Unary::relu>(saved, dy, dx, count);
    case Unary::gelu:
      return backward_loop<Unary::gelu>(saved, dy, dx, count);
    case Unary::gelu_tanh:
      return backward_loop<Unary::gelu_tanh>(saved, dy, dx, count);
    case Unary::silu:
      return backward_loop<Unary::silu>(saved, dy, dx, count);
    case Unary::tanh:
      return backward_loop<Unary::tanh>(saved, dy, dx, count);
    case Unary::rsqrt:
      return backward_loop<Unary::rsqrt>(saved, dy, dx, count);
  }
}

// Strides of a and b are 0 or 1: a row against a row, or against one element.
template <typename T>
void binary_range(Binary operation, const T* a, bool a_row, const T* b, bool b_row, T* out,
                  std::int64_t count) {
  const F32 d;
  const VF a_one = hn::Set(d, static_cast<float>(*a));
  const VF b_one = hn::Set(d, static_cast<float>(*b));
  const bool add = operation == Binary::add;
  for_vectors(count, [&](std::int64_t i, auto part) HEADWAY_BODY {
    const VF va = a_row ? load(d, a + i, part) : a_one;
    const VF vb = b_row ? load(d, b + i, part) : b_one;
    store(d, add ? hn::Add(va, vb) : hn::Mul(va, vb), out + i, part);
  });
}

template <typename T>
void scale_range(const T* x, float factor, T* y, std::int64_t count) {
  const F32 d;
  for_vectors(count, [&](std::int64_t i, auto part) HEADWAY_BODY {
    store(d, hn::Mul(load(d, x + i, part), hn::Set(d, factor)), y + i, part);
  });
}

#define HEADWAY_FOR(T, SUFFIX)                                                                             \
  void unary_##SUFFIX(Unary f, const T* x, T* y, std::int64_t n) { unary_range(f, x, y, n); }              \
  void unary_backward_##SUFFIX(Unary f, const T* s, const T* dy, T* dx, std::int64_t n) {                  \
    unary_backward_range(f, s, dy, dx, n);                                                                 \
  }                                                                                                        \
  void binary_##SUFFIX(Binary o, const T* a, bool a_row, const T* b, bool b_row, T* out, std::int64_t n) { \
    binary_range(o, a, a_row, b, b_row, out, n);                                                           \
  }                                                                                                        \
  void scale_##SUFFIX(const T* x, float factor, T* y, std::int64_t n) { scale_range(x, factor, y, n); }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <kernels/broadcast.h>

namespace headway::inline v1::kernels {
namespace {
constexpr std::int64_t kGrain = 1 << 14;
}

#define HEADWAY_FOR(T, SUFFIX)                                                                             \
  HWY_EXPORT(unary_##SUFFIX);                                                                              \
  HWY_EXPORT(unary_backward_##SUFFIX);                                                                     \
  HWY_EXPORT(binary_##SUFFIX);                                                                             \
  HWY_EXPORT(scale_##SUFFIX);                                                                              \
  template <>                                                                                              \
  void unary(Unary function, const T* x, T* y, std::int64_t count) {                                       \
    core::parallel_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {                       \
      HWY_DYNAMIC_DISPATCH(unary_##SUFFIX)(function, x + begin, y + begin, end - begin);                   \
    });                                                                                                    \
  }                                                                                                        \
  template <>                                                                                              \
  void unary_backward(Unary function, const T* saved, const T* dy, T* dx, std::int64_t count) {            \
    core::parallel_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {                       \
      HWY_DYNAMIC_DISPATCH(unary_backward_##SUFFIX)                                                        \
      (function, saved + begin, dy + begin, dx + begin, end - begin);                                      \
    });                                                                                                    \
  }                                                                                                        \
  template <>                                                                                              \
  void binary(Binary operation, const Shape& shape, const T* a, const Strides& a_strides, const T* b,      \
              const Strides& b_strides, T* out) {                                                          \
    broadcast_rows(shape, a, a_strides, b, b_strides, out,                                                 \
                   [&](const T* ra, bool a_row, const T* rb, bool b_row, T* row, std::int64_t n) {         \
                     HWY_DYNAMIC_DISPATCH(binary_##SUFFIX)(operation, ra, a_row, rb, b_row, row, n);       \
                   });                                                                                     \
  }                                                                                                        \
  template <>                                                                                              \
  void scale(const T* x, double factor, T* y, std::int64_t count) {                                        \
    core::parallel_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {                       \
      HWY_DYNAMIC_DISPATCH(scale_##SUFFIX)(x + begin, static_cast<float>(factor), y + begin, end - begin); \
    });                                                                                                    \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
#endif
