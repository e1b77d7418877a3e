#pragma once
#include <cstdint>
#include <span>

#include <headway/core/dtype.h>
#include <headway/core/export.h>

/// Means over packed rows.
namespace headway::inline v1::kernels {

/// y[b] = 1/n Σ x[i] over the n rows offsets[b] … offsets[b + 1] - 1 of x [N, C], summed in float32 (float64
/// of double) in the order of rows: a sequence's mean does not depend on the others. No sequence is empty.
template <typename T>
void segment_mean(const T* x, std::span<const std::int64_t> offsets, std::int64_t width, T* y);
/// dx[i] = dy[b]/n.
template <typename T>
void segment_mean_backward(const T* dy, std::span<const std::int64_t> offsets, std::int64_t width, T* dx);

}  // namespace headway::inline v1::kernels
