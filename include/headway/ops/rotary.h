#pragma once
#include <cstdint>
#include <vector>

#include <headway/attention/position.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

struct RotaryOptions {
  RopeOptions rope = {};
  /// Positions of one's own: int32 [T] or [B, T], packed [N]; any values, negative ones too.
  Tensor position_ids = {};
  /// In place of them: the position of each sequence's first row, the others following; one number for all
  /// sequences or one for each. Empty: 0.
  std::vector<std::int64_t> starts = {};
  /// Packed batches: sequence b is rows offsets[b] … offsets[b+1] - 1. Not needed with position_ids.
  std::vector<std::int64_t> offsets = {};
};

/// Rotary position embedding (Su et al. 2021, "RoFormer", eq. 34): pair m of the columns of each head, a and
/// b, is turned by φ = position/scaling · base^(-2m/dims):
///   y_a = x_a·cos φ - x_b·sin φ      y_b = x_b·cos φ + x_a·sin φ
/// x [B, T, H, D], or packed [N, H, D]; float32, bfloat16, float64; any strides whose last is 1 (others are
/// copied). The result is contiguous, x's shape and dtype. Angles are float64 at any position, cosines and
/// sines float32 (float64 for float64): O(positions·dims) numbers, for all heads together. Differentiable in
/// x. Error(shape): heads of an odd dimension without dims, dims above D, position_ids, starts or offsets
/// that do not fit x. Error(dtype): position_ids that are not int32. Error(value): base or scaling not
/// positive, dims odd, position_ids and starts together.
HEADWAY_API Tensor rotary(const Tensor& x, const RotaryOptions& options = {});

}  // namespace headway::inline v1
