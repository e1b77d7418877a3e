#pragma once
#include <vector>

#include <headway/core/tensor.h>

/// Views share elements and copy nothing unless said; gradients flow through all of them.
namespace headway::inline v1 {

/// The same elements in row-major order under another shape; one dimension may be -1. Copies only when the
/// strides cannot express it.
HEADWAY_API Tensor reshape(const Tensor& x, const Shape& shape);
/// Swaps two dimensions.
HEADWAY_API Tensor transpose(const Tensor& x, int a, int b);
/// Elements [begin, end) of a dimension.
HEADWAY_API Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end);
/// Neighbouring parts of a dimension, of the given sizes (together the whole): as slices, but the backward
/// pass puts their gradients together in one array.
HEADWAY_API std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& sizes, int dim);
/// Joins along a dimension; copies.
HEADWAY_API Tensor concat(const std::vector<Tensor>& parts, int dim);
/// x itself when it is contiguous, else a copy.
HEADWAY_API Tensor contiguous(const Tensor& x);
/// Another dtype; x itself when it has it already.
HEADWAY_API Tensor cast(const Tensor& x, DType dtype);
/// Copies `source` into the elements of `target` (a view, too), converting; not recorded.
HEADWAY_API void copy_into(const Tensor& target, const Tensor& source);

}  // namespace headway::inline v1
