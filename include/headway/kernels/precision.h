#pragma once
#include <type_traits>

#include <headway/core/dtype.h>

namespace headway::inline v1::kernels {

/// What a kernel computes in, and keeps statistics and parameters in: float32 for float32 and bfloat16
/// elements, float64 for float64.
template <typename T>
using compute_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace headway::inline v1::kernels
