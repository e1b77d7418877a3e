#pragma once
#include <headway/ops/attention.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/loss.h>
#include <headway/ops/merge_attention.h>
#include <headway/ops/norm.h>
#include <headway/ops/rotary.h>

/// Fused ops written out in simpler ones: what a backend without the fused kernel runs, and what tests
/// compare the fused kernels with, outputs and gradients. Arguments, results and random draws are the fused
/// op's.
namespace headway::inline v1::composed {

HEADWAY_API NormResult layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                  const NormOptions& options = {});
HEADWAY_API NormResult rms_norm(const Tensor& x, const Tensor& weight, const NormOptions& options = {});
HEADWAY_API Tensor cross_entropy(const Tensor& logits, const Tensor& targets,
                                 const CrossEntropyOptions& options = {});
HEADWAY_API Tensor embedding(const Tensor& ids, const Tensor& table, const EmbeddingOptions& options = {});
/// matmul and a bias; the activation is an op of its own.
HEADWAY_API Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                          LinearOptions options = {});
/// Products with arrays of cosines and sines. position_ids have elements.
HEADWAY_API Tensor rotary(const Tensor& x, const RotaryOptions& options = {});
/// All T·S scores, hidden pairs by adding -inf. A NaN in a hidden pair is not kept out.
HEADWAY_API Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionOptions& options = {});
/// The log-sum-exp alone, where every query sees a key and every bias is finite.
HEADWAY_API Tensor attention_log_sum_exp(const Tensor& q, const Tensor& k, const Tensor& v,
                                         const AttentionOptions& options = {});
/// Outputs weighted by the softmax over the parts' log-sum-exps, which are finite.
HEADWAY_API AttentionResult merge_attention(const std::vector<AttentionResult>& parts);

}  // namespace headway::inline v1::composed
