#pragma once
#include <string>
#include <vector>

#include <headway/ops/attention.h>

namespace headway::inline v1 {

/// What attention() would do with its arguments, and why.
struct HEADWAY_API AttentionExplanation {
  std::string path;                  ///< which kernel runs
  std::vector<std::string> reasons;  ///< why, and what it costs beside
  std::string mask;                  ///< as Mask::str()
  std::string isa;                   ///< instruction set; empty on the reference path
  std::int64_t query_block = 0, key_tile = 0;
  std::int64_t full_tiles = 0, partial_tiles = 0;  ///< tiles visited, over all sequences and heads
  double pairs = 0;                                ///< of queries and keys, over all sequences and heads
  double visible_pairs = 0;                        ///< those that the mask leaves
  double computed_pairs = 0;  ///< those that the products compute: whole tiles, or vectors of them
  /// Of the products alone; multiply and add count as two. Backward has five of them, forward two.
  double forward_operations = 0, backward_operations = 0;
  double tensor_bytes = 0;                                     ///< q, k, v and the output, once each
  std::int64_t plan_bytes = 0;                                 ///< of the compiled mask
  std::int64_t forward_workspace = 0, backward_workspace = 0;  ///< bytes, with threads() threads

  /// All of it, in lines for people.
  std::string str() const;
};

/// Arguments as for attention(); tensors on the meta device do, so nothing of that size need exist. Throws
/// what attention() would.
HEADWAY_API AttentionExplanation explain_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                                   const AttentionOptions& options = {});

}  // namespace headway::inline v1
