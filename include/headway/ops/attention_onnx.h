#pragma once
#include <optional>
#include <vector>

#include <headway/ops/attention.h>

namespace headway::inline v1 {

/// The optional inputs and the attributes of ONNX's Attention, by its names. T, S, H, G, D: its
/// q_sequence_length, total_sequence_length (past and new), q_num_heads, kv_num_heads, head_size.
struct OnnxAttentionOptions {
  /// Broadcasts to [B, H, T, S]; bool (true is seen), or floating and added to the scores; differentiable. A
  /// last dimension shorter than S is continued with false or -inf, one of 1 too: it is not broadcast.
  Tensor attn_mask = {};
  Tensor past_key = {};                             ///< [B, G, P, D]: P keys before those of k
  Tensor past_value = {};                           ///< [B, G, P, Dv]; with past_key or not at all
  std::vector<std::int64_t> nonpad_kv_seqlen = {};  ///< [B]: keys of k that exist; not with past_key
  /// Query i sees keys j <= i + P; with nonpad_kv_seqlen, j <= i + nonpad_kv_seqlen[b] - T.
  bool is_causal = false;
  std::int64_t q_num_heads = 0, kv_num_heads = 0;  ///< H and G, wanted for inputs of rank 3
  std::optional<double> scale = {};                ///< 1/sqrt(D) unless given
  double softcap = 0;                              ///< 0: none
  /// Modes 0 to 3 in order: raw, capped, masked, softmaxed. Not given: no qk_matmul_output.
  std::optional<Scores> qk_matmul_output_mode = {};
};

struct OnnxAttentionResult {
  Tensor y;                           ///< [B, H, T, Dv]; of inputs of rank 3 [B, T, H·Dv]
  Tensor present_key, present_value;  ///< [B, G, S, D], [B, G, S, Dv]; undefined with nonpad_kv_seqlen
  Tensor qk_matmul_output;            ///< [B, H, T, S] in q's dtype; not differentiable
};

/// The operator Attention of ONNX, opset 24 (https://onnx.ai/onnx/operators/onnx__Attention.html): q [B, H,
/// T, D], k [B, G, S - P, D] and v [B, G, S - P, Dv], or [B, T, H·D], [B, S - P, G·D] and [B, S - P, G·Dv].
/// One dtype: float32, bfloat16, float64. Differentiable in q, k, v, past_key, past_value and attn_mask.
///
/// This is the operator as onnx 1.23 words it: scores are capped before the mask is added (as in
/// attention()), modes 1 and 2 follow in that order, and a query that sees nothing gives 0. When opset 24
/// came out (onnx 1.19) its text had the mask before the cap, and modes 1 and 2 the other way round: models
/// from then mean something else by these modes, and by a softcap together with a mask. softmax_precision
/// has no field: the softmax is always float32 (of float64: float64). scale multiplies the product, where
/// ONNX multiplies both factors by its root.
HEADWAY_API OnnxAttentionResult attention_onnx(const Tensor& q, const Tensor& k, const Tensor& v,
                                               const OnnxAttentionOptions& options = {});

}  // namespace headway::inline v1
