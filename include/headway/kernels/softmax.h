#pragma once
#include <cstdint>

#include <headway/core/export.h>
#include <headway/kernels/precision.h>

namespace headway::inline v1::kernels {

/// y = softmax(x) over rows of `dim` (or its logarithm). A row of -inf gives zeros (log: -inf).
template <typename T>
void softmax(bool log, std::int64_t rows, std::int64_t dim, const T* x, T* y);
/// softmax: dx = y·(dy - Σ dy·y). log: dx = dy - exp(y)·Σ dy. A row of -inf gets zeros.
template <typename T>
void softmax_backward(bool log, std::int64_t rows, std::int64_t dim, const T* y, const T* dy, T* dx);

/// The k largest of each row, largest first, equal values by index; NaN comes last.
template <typename T>
void top_k(std::int64_t rows, std::int64_t dim, std::int64_t k, const T* x, T* values, std::int32_t* indices);

}  // namespace headway::inline v1::kernels
