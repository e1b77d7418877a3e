#pragma once
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// The mean of each sequence's rows: x [N, C] and offsets [B+1], rising from 0 to N, -> [B, C] of x's dtype;
/// summed in float32 (float64 of float64), each sequence by itself. Differentiable. Error(shape) for other
/// offsets, Error(value) for a sequence without rows.
HEADWAY_API Tensor segment_mean(const Tensor& x, const std::vector<std::int64_t>& offsets);

}  // namespace headway::inline v1
