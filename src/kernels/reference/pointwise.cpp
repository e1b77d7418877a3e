#include <cmath>
#include <numbers>

#include <headway/kernels/dropout.h>
#include <headway/kernels/pointwise.h>
#include <kernels/broadcast.h>

// The oracle of the elementwise functions: the formulas in float64.
namespace headway::inline v1::kernels {
namespace {

double gelu_argument(double x) { return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x); }

double value_of(Unary function, double x) {
  switch (function) {
    case Unary::relu:
      return x < 0 ? 0 : x;
    case Unary::gelu:
      return x * 0.5 * std::erfc(-x / std::numbers::sqrt2);
    case Unary::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(gelu_argument(x)));
    case Unary::silu:
      return x / (1 + std::exp(-x));
    case Unary::tanh:
      return std::tanh(x);
    case Unary::rsqrt:
      return 1 / std::sqrt(x);
  }
  return 0;
}

double slope_of(Unary function, double saved) {
  switch (function) {
    case Unary::relu:
      return saved > 0 ? 1 : 0;
    case Unary::gelu:
      return 0.5 * std::erfc(-saved / std::numbers::sqrt2) +
             saved * std::exp(-0.5 * saved * saved) / std::sqrt(2 * std::numbers::pi);
    case Unary::gelu_tanh: {
      const double t = std::tanh(gelu_argument(saved));
      const double rise = std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * saved * saved);
      return 0.5 * (1 + t) + 0.5 * saved * (1 - t * t) * rise;
    }
    case Unary::silu: {
      const double s = 1 / (1 + std::exp(-saved));
      return s * (1 + saved * (1 - s));
    }
    case Unary::tanh:
      return 1 - std::tanh(saved) * std::tanh(saved);
    case Unary::rsqrt:
      return -0.5 / (saved * std::sqrt(saved));
  }
  return 0;
}

}  // namespace

template <>
void unary(Unary function, const double* x, double* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = value_of(function, x[i]);
}
template <>
void unary_backward(Unary function, const double* saved, const double* dy, double* dx, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dx[i] = dy[i] * slope_of(function, saved[i]);
}
template <>
void binary(Binary operation, const Shape& shape, const double* a, const Strides& a_strides, const double* b,
            const Strides& b_strides, double* out) {
  broadcast_rows(
      shape, a, a_strides, b, b_strides, out,
      [&](const double* ra, bool a_row, const double* rb, bool b_row, double* row, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) {
          const double va = ra[a_row ? i : 0], vb = rb[b_row ? i : 0];
          row[i] = operation == Binary::add ? va + vb : va * vb;
        }
      });
}
template <>
void scale(const double* x, double factor, double* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] * factor;
}
template <>
void dropout(const Dropout& dropout, const double* x, double* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = dropout.keeps(i) ? x[i] * dropout.scale() : 0;
}

}  // namespace headway::inline v1::kernels
