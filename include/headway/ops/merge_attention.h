#pragma once
#include <vector>

#include <headway/ops/attention.h>

namespace headway::inline v1 {

/// Results of attention() over disjoint sets of keys, joined to the one over their union (Milakov &
/// Gimelshein 2018; Dao et al. 2022): log-sum-exp L = log Σ_i exp L_i, output Σ_i exp(L_i - L)·O_i, in index
/// order. Keys may so be cut for a cache, for chunks, or for machines. The parts, at least one, have outputs
/// of one shape and dtype, [B, T, H, Dv] or packed [N, H, Dv] (float32, bfloat16, float64), and their
/// log_sum_exp, [B, H, T] or [H, N]; so has the result. A part that saw nothing (-inf) adds nothing, whatever
/// its output holds; of such parts alone the result is 0 and -inf, with gradients of 0. Differentiable in all
/// outputs and log-sum-exps. The parts' weights are not joined: the result has none.
HEADWAY_API AttentionResult merge_attention(const std::vector<AttentionResult>& parts);

}  // namespace headway::inline v1
