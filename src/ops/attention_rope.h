#pragma once
#include <cstdint>
#include <vector>

#include <headway/ops/attention.h>
#include <headway/ops/explain.h>

/// Attention with Position::rope(): queries and keys are turned first, and meet in the fused kernel as any
/// others do.
namespace headway::inline v1::ops {

/// Of each row of q and k [B, T, …] or [N, …], in order: p = i + S - T and j, within each sequence.
struct RopePositions {
  std::vector<std::int64_t> queries, keys;
};
/// Checks shapes and lengths as attention() does.
RopePositions rope_positions(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionOptions& options);

AttentionResult attention_rope(const Tensor& q, const Tensor& k, const Tensor& v,
                               const AttentionOptions& options);
/// attention() of the columns of one slab (qkv) or of two (q and kv), whose widths have been checked, cut up
/// on the tape: for positions that make new queries.
AttentionResult attention_of_parts(const std::vector<Tensor>& slabs, const HeadsLayout& layout,
                                   const AttentionOptions& options);
AttentionExplanation explain_rope(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const AttentionOptions& options);

}  // namespace headway::inline v1::ops
