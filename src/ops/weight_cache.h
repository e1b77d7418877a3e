#pragma once
#include <cstdint>

#include <headway/core/tensor.h>

namespace headway::inline v1::ops {

/// weight [O, I] reordered for X·Wᵀ (transposed false) or dY·W (true), as `dtype`; see kernels::pack. Kept
/// with the weight's storage until its version changes, so a step packs each weight once and inference packs
/// it once at all.
const void* packed_weight(const Tensor& weight, DType dtype, bool for_gradient);

}  // namespace headway::inline v1::ops
