#pragma once
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1::models {

/// Sentences one after another, without padding.
struct PackedTokens {
  Tensor ids;                         ///< [N] int32
  std::vector<std::int64_t> offsets;  ///< [B+1]: sentence b is ids[offsets[b]] … ids[offsets[b+1] - 1]
};

HEADWAY_API PackedTokens pack(const std::vector<std::vector<std::int32_t>>& sentences);
/// From a padded array [B, T] int32, of whose row b the first lengths[b] are tokens.
HEADWAY_API PackedTokens pack(const Tensor& padded, const std::vector<std::int64_t>& lengths);

}  // namespace headway::inline v1::models
