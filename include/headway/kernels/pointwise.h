#pragma once
#include <cstdint>

#include <headway/core/export.h>
#include <headway/core/shape.h>

/// Elementwise functions on contiguous arrays of float, bfloat16 (computed in float32) and double.
namespace headway::inline v1::kernels {

enum class Unary { relu, gelu, gelu_tanh, silu, tanh, rsqrt };
/// y = f(x).
template <typename T>
void unary(Unary function, const T* x, T* y, std::int64_t count);
/// dx = dy·f'(x). `saved` is x, but for relu, which needs only y.
template <typename T>
void unary_backward(Unary function, const T* saved, const T* dy, T* dx, std::int64_t count);

enum class Binary { add, mul };
/// out[i] = a[i] op b[i] over `shape`; out is contiguous, a and b have strides (0 where broadcast).
template <typename T>
void binary(Binary operation, const Shape& shape, const T* a, const Strides& a_strides, const T* b,
            const Strides& b_strides, T* out);

/// y = x·factor.
template <typename T>
void scale(const T* x, double factor, T* y, std::int64_t count);

/// Sum in float64: blocks of fixed size, added in order.
template <typename T>
double sum(const T* x, std::int64_t count);

/// The transpose of broadcasting: x contiguous over `shape` -> out contiguous over the shape whose sizes are
/// `shape`'s or 1 (`kept`, same rank), summed in float64 in row-major order.
template <typename T>
void sum_to(const Shape& shape, const T* x, const Shape& kept, T* out);

}  // namespace headway::inline v1::kernels
