#pragma once
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1::models {

/// Sequences one after another, without padding: sequence b is rows offsets[b] … offsets[b+1] - 1.
struct PackedBatch {
  Tensor ids = {};                         ///< [N] int32
  std::vector<std::int64_t> offsets = {};  ///< [B+1], from 0 to N
  Tensor types = {};                       ///< [N] int32, token types (segments); undefined: all 0
  Tensor images = {};                      ///< [B, 3, height, width] float32, in place of ids
};

HEADWAY_API PackedBatch pack(const std::vector<std::vector<std::int32_t>>& sentences);
/// From a padded array [B, T] int32, of whose row b the first lengths[b] are tokens.
HEADWAY_API PackedBatch pack(const Tensor& padded, const std::vector<std::int64_t>& lengths);

}  // namespace headway::inline v1::models
