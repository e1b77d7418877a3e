#pragma once
#include <array>
#include <string>

#include <headway/nn/multi_head_attention.h>

namespace headway::inline v1::nn {

/// Query, key, value: what each is cut into.
struct Role {
  const char* name;
  std::int64_t heads, dim, inputs;  ///< inputs: columns of one head's matrix
  std::int64_t width;               ///< columns of the role's input
};
std::array<Role, 3> roles_of(const MultiHeadAttentionOptions& options);

/// Fills in the defaults (0 means "as usual") and checks. Error(shape) naming the field.
MultiHeadAttentionOptions complete(MultiHeadAttentionOptions options);

/// True when query, key and value can share one matrix: inputs of one width, all of it seen by each head.
bool shares_matrix(const MultiHeadAttentionOptions& options);

}  // namespace headway::inline v1::nn
