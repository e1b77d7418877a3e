#pragma once
#include <string_view>
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1::models {

/// What packed ids must be.
struct TokenLimits {
  std::string_view operation;  ///< "Transformer::encode"
  std::string_view what;       ///< "source"
  std::int64_t vocabulary = 0;
  std::int64_t max_length = 0;  ///< 0: any
};

/// Error naming the first place where ids [N] int32 or offsets [B+1] are wrong.
void check_tokens(const Tensor& ids, const std::vector<std::int64_t>& offsets, const TokenLimits& limits);

}  // namespace headway::inline v1::models
