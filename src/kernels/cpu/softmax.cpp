#include <headway/kernels/softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/rows-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

template <typename T>
void softmax_rows(bool log, std::int64_t dim, const T* x, T* y, std::int64_t begin, std::int64_t end) {
  const F32 d;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* in = x + row * dim;
    T* out = y + row * dim;
    const float largest = row_max(in, dim);
    if (largest == -std::numeric_limits<float>::infinity()) {
      std::fill_n(out, dim, T(log ? largest : 0.0f));
      continue;
    }
    const VF shift = hn::Set(d, largest);
    const float sum = row_exp_sum(in, dim, largest);
    if (log) {
      // x - max is exact or nearly so; the logarithm of the sum is small beside it.
      const VF log_sum = hn::Set(d, std::log(sum));
      for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
        store(d, hn::Sub(hn::Sub(load(d, in + i, part), shift), log_sum), out + i, part);
      });
    } else {
      const VF inverse = hn::Set(d, 1.0f / sum);
      for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
        store(d, hn::Mul(exp_of(hn::Sub(load(d, in + i, part), shift)), inverse), out + i, part);
      });
    }
  }
}

template <typename T>
void backward_rows(bool log, std::int64_t dim, const T* y, const T* dy, T* dx, std::int64_t begin,
                   std::int64_t end) {
  const F32 d;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* value = y + row * dim;
    const T* grad = dy + row * dim;
    T* out = dx + row * dim;
    if (log && row_max(value, dim) == -std::numeric_limits<float>::infinity()) {
      std::fill_n(out, dim, T(0.0f));
      continue;
    }
    VF sum = hn::Zero(d);
    for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
      const VF g = load(d, grad + i, part);
      sum = log ? hn::Add(sum, g) : hn::MulAdd(g, load(d, value + i, part), sum);
    });
    const VF all = hn::Set(d, total(sum));
    for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
      const VF g = load(d, grad + i, part);
      const VF v = load(d, value + i, part);
      store(d, log ? hn::NegMulAdd(exp_of(v), all, g) : hn::Mul(v, hn::Sub(g, all)), out + i, part);
    });
  }
}

#define HEADWAY_FOR(T, SUFFIX)                                                               \
  void softmax_##SUFFIX(bool log, std::int64_t dim, const T* x, T* y, std::int64_t begin,    \
                        std::int64_t end) {                                                  \
    softmax_rows(log, dim, x, y, begin, end);                                                \
  }                                                                                          \
  void softmax_backward_##SUFFIX(bool log, std::int64_t dim, const T* y, const T* dy, T* dx, \
                                 std::int64_t begin, std::int64_t end) {                     \
    backward_rows(log, dim, y, dy, dx, begin, end);                                          \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
std::int64_t row_grain(std::int64_t dim) {
  return std::max<std::int64_t>(1, (1 << 13) / std::max<std::int64_t>(1, dim));
}
}  // namespace

#define HEADWAY_FOR(T, SUFFIX)                                                                           \
  HWY_EXPORT(softmax_##SUFFIX);                                                                          \
  HWY_EXPORT(softmax_backward_##SUFFIX);                                                                 \
  template <>                                                                                            \
  void softmax(bool log, std::int64_t rows, std::int64_t dim, const T* x, T* y) {                        \
    core::parallel_ranges(rows, row_grain(dim), [&](std::int64_t begin, std::int64_t end) {              \
      HWY_DYNAMIC_DISPATCH(softmax_##SUFFIX)(log, dim, x, y, begin, end);                                \
    });                                                                                                  \
  }                                                                                                      \
  template <>                                                                                            \
  void softmax_backward(bool log, std::int64_t rows, std::int64_t dim, const T* y, const T* dy, T* dx) { \
    core::parallel_ranges(rows, row_grain(dim), [&](std::int64_t begin, std::int64_t end) {              \
      HWY_DYNAMIC_DISPATCH(softmax_backward_##SUFFIX)(log, dim, y, dy, dx, begin, end);                  \
    });                                                                                                  \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
#endif
