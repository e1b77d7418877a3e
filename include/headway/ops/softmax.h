#pragma once
#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// Softmax over the last dimension. A row of -inf gives zeros, never NaN.
HEADWAY_API Tensor softmax(const Tensor& x);
/// Logarithm of softmax over the last dimension.
HEADWAY_API Tensor log_softmax(const Tensor& x);

struct TopK {
  Tensor values;   ///< [..., k], largest first
  Tensor indices;  ///< [..., k] int32; equal values: the lower index first
};
/// The k largest of the last dimension. Not differentiable.
HEADWAY_API TopK top_k(const Tensor& x, std::int64_t k);

}  // namespace headway::inline v1
