#pragma once
#include <headway/attention/position.h>
#include <headway/core/tensor.h>
#include <headway/kernels/attention.h>

/// Terms by offset from simpler ops, with arrays of T·S·D: what the fused kernels are compared with.
namespace headway::inline v1::ops {

/// x [H, T, D] + bias [H, D]; x where there is none.
Tensor with_head_bias(const Tensor& x, const Tensor& bias);
/// Σ_d query[h, i, d]·vectors[offset of (i, j)][d]: [H, T, S]. `vectors` hold differentiable rows.
Tensor relative_scores(const Tensor& query, const Position::Vectors& vectors, const kernels::SequenceDesc& s);
/// Σ_j weights[h, i, j]·vectors[offset of (i, j)]: [H, T, Dv].
Tensor relative_values(const Tensor& weights, const Position::Vectors& vectors,
                       const kernels::SequenceDesc& s);

}  // namespace headway::inline v1::ops
