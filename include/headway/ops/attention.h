#pragma once
#include <optional>
#include <vector>

#include <headway/attention/mask.h>
#include <headway/attention/position.h>
#include <headway/attention/score_modifier.h>
#include <headway/attention/tile_plan.h>
#include <headway/core/generator.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// What to return beside the output. Both kinds make an array of T·S elements (per head).
enum class Weights { none, per_head, averaged };

/// The stages from product to weight, in the order in which attention() computes them: what the array that
/// `Weights` asks for holds.
enum class Scores {
  raw,       ///< Q·Kᵀ·scale, of every pair, hidden or not
  capped,    ///< softcap of those (without one: raw)
  masked,    ///< with bias and position added, -inf where hidden
  softmaxed  ///< the weights themselves, before dropout, 0 where hidden
};

struct AttentionResult;

struct AttentionOptions {
  Mask mask = {};
  /// In place of the mask: one compiled before, for this shape. Without it a mask that interval arithmetic
  /// cannot express (see Mask::bounds) is compiled in every call.
  TilePlan plan = {};
  std::optional<double> scale = {};  ///< 1/sqrt(D) unless given
  /// Added to the scaled scores, broadcast to [B, H, T, S]; float32; -inf hides a pair; differentiable.
  Tensor bias = {};
  /// What the distance between query and key adds to their score; what is learned in it is differentiable.
  /// With Position::rope() queries are turned at positions i + S - T and keys at j first (rotary()), into
  /// copies.
  Position position = {};
  /// Scores become softcap·tanh(score / softcap) before biases are added; 0: they stay as they are.
  double softcap = 0;
  /// A change to the scores of the program's own making, after the softcap; its parameters are
  /// differentiable.
  ScoreModifier modifier = {};
  double dropout = 0;  ///< probability of dropping a weight; the weights returned are those before it
  Generator* generator = nullptr;  ///< wanted when dropout > 0
  /// Packed batches: sequence b is rows offsets[b] … offsets[b+1] - 1 of q (of k and v). Both or neither.
  std::vector<std::int64_t> query_offsets = {}, key_offsets = {};
  /// Of a padded k and v, only the first key_lengths[b] positions exist (a cache): positions and alignment
  /// count them alone. Mask::padding, in contrast, hides keys without moving anything.
  std::vector<std::int64_t> key_lengths = {};
  /// Of packed k and v, in place of key_offsets: the keys of sequence b are rows key_starts[b] …
  /// key_starts[b] + key_lengths[b] - 1, anywhere among them (rows of a cache). Evaluation only:
  /// Error(unsupported) where a gradient would be recorded.
  std::vector<std::int64_t> key_starts = {};
  Weights weights = Weights::none;
  Scores stage = Scores::softmaxed;  ///< of `weights`
  bool log_sum_exp = false;
  /// The output and log-sum-exp that this very call gave before (a dropout's generator stands where it
  /// stood): they are put on the tape, and not computed again. With it a program that has a tape of its own
  /// keeps tensors alone between forward and backward. Error(shape) or Error(dtype) where they do not fit the
  /// call.
  const AttentionResult* known = nullptr;
};

struct AttentionResult {
  Tensor output;  ///< [B, T, H, Dv], or packed [N, H, Dv]; contiguous, q's dtype
  /// [B, H, T, S] (averaged: [B, T, S]) float32 (float64 of float64), rows summing to 1 (0 where nothing is
  /// seen) unless another stage is asked for. Packed input: T and S are the longest lengths; what lies beyond
  /// a sequence's end is 0 (masked: -inf). Not differentiable.
  Tensor weights;
  /// [B, H, T], packed [H, N]; float32 (float64 of float64); -inf where nothing is seen. Differentiable: two
  /// results over different keys become one by it (merge_attention).
  Tensor log_sum_exp;
};

/// softmax(modifier(softcap(Q·Kᵀ·scale)) + bias + position, masked)·V for every head (Vaswani 2017, eq. 1;
/// tiles and the log-sum-exp after Dao 2023). q [B, T, H, D], k [B, S, G, D], v [B, S, G, Dv], G dividing H
/// (query head h uses key/value head h·G/H), or packed [N, H, D], [M, G, D], [M, G, Dv] with offsets. Any
/// strides whose last is 1. One dtype: float32, bfloat16, float64. A query that sees no key gets 0, and
/// gradients of 0. Memory beyond the result is O(T + S). The output and the log-sum-exp
/// are differentiable in q, k, v, bias, and what is learned in the position and the modifier; the weights, at
/// any stage, nowhere.
HEADWAY_API AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const AttentionOptions& options = {});

/// How a projection's columns are cut into heads.
struct HeadsLayout {
  std::int64_t heads = 0, kv_heads = 0;           ///< H, G
  std::int64_t head_dim = 0, value_head_dim = 0;  ///< D, Dv
};

/// attention() straight from projections, without cutting them up: qkv [..., H·D + G·D + G·Dv] for
/// self-attention, or q [..., H·D] and kv [..., G·D + G·Dv]. The gradients are written where the projections'
/// backward wants them.
HEADWAY_API AttentionResult attention_combined(const Tensor& qkv, const HeadsLayout& layout,
                                               const AttentionOptions& options = {});
HEADWAY_API AttentionResult attention_combined(const Tensor& q, const Tensor& kv, const HeadsLayout& layout,
                                               const AttentionOptions& options = {});

}  // namespace headway::inline v1
