#pragma once
#include <headway/core/tensor.h>

namespace headway::inline v1::inspect {

/// How much a layer's heads differ in what they look at: the Jensen-Shannon divergence (base 2) of two heads'
/// weights for the same query, averaged over all queries and pairs of heads. 0: all heads look at the same;
/// 1: never at the same. weights [H, T, S] or [B, H, T, S] float32, rows summing to 1; rows of zeros
/// (padding, nothing visible) do not count. 0 for a single head.
HEADWAY_API double head_divergence(const Tensor& weights);

}  // namespace headway::inline v1::inspect
