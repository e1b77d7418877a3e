#pragma once
#include <cstdint>
#include <vector>

#include <headway/attention/position.h>
#include <headway/core/tensor.h>

namespace headway::inline v1::ops {

/// Heads [B, T, H, D] or [N, H, D], and the position of each row of them (B·T or N numbers).
struct PlacedRows {
  Tensor x;
  std::vector<std::int64_t> positions;
};

/// rotary() of several tensors, of one dtype and D, from one table of cosines and sines: queries and keys
/// share most of their positions. The arguments have been checked.
std::vector<Tensor> rotate(const RopeOptions& rope, const std::vector<PlacedRows>& parts);

}  // namespace headway::inline v1::ops
