#pragma once
#include <headway/core/tensor.h>

namespace headway::inline v1 {

struct EmbeddingOptions {
  double scale = 1;               ///< rows are multiplied by it (Vaswani 2017, section 3.4: sqrt(C))
  DType output = DType::float32;  ///< float32 or bfloat16; float64 tables give float64
  Tensor positions = {};          ///< [P, C] rows added after scaling (constant or learned), or undefined
  Tensor position_ids = {};  ///< [...] int32: which row of `positions` each id takes; wanted with `positions`
};

/// Rows of a table: ids [...] int32 in [0, V), table [V, C] -> [..., C]. An id outside the vocabulary is an
/// Error(value) naming it and its place. The gradient of a row adds up over its occurrences, in order of
/// their place. A table whose storage is on demand, and to which no gradient flows, may be float32, bfloat16
/// or float16 and stays on demand: rows are read from the form that linear() packed it in, or made one by
/// one; they are rounded to `output` before they are scaled.
HEADWAY_API Tensor embedding(const Tensor& ids, const Tensor& table, const EmbeddingOptions& options = {});

/// Rows of x [N, ...] by index [M] int32 -> [M, ...]; differentiable in x.
HEADWAY_API Tensor gather(const Tensor& x, const Tensor& index);

}  // namespace headway::inline v1
