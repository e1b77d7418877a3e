#pragma once
#include <headway/nn/encoder_layer.h>

namespace headway::inline v1::nn {

/// Where a decoder layer's rows belong, and what they look at.
struct DecoderInput {
  std::vector<std::int64_t> offsets;         ///< [B+1], of the target rows
  Tensor memory;                             ///< [M, C], the encoder's output
  std::vector<std::int64_t> memory_offsets;  ///< [B+1]
};

/// What a decoder layer keeps between the steps of decoding.
struct DecoderLayerState {
  KeyValueCache self;
  ProjectedMemory memory;
};

/// Causal self-attention, attention to the memory, then feed-forward (Vaswani 2017, section 3.1), on packed
/// rows.
class HEADWAY_API DecoderLayer : public Module {
 public:
  DecoderLayer(const LayerOptions& options, Generator& generator);
  /// Rows [N, C] of target sequences. With `seen`, the attention weights are returned there.
  Stream operator()(const Stream& in, const DecoderInput& input, LayerAttention* seen = nullptr);
  /// The block by itself: rows [N, C] to rows [N, C].
  Tensor operator()(const Tensor& x, const DecoderInput& input);

  /// Step-by-step decoding: the memory is projected once, …
  DecoderLayerState start(const Tensor& memory, const std::vector<std::int64_t>& memory_offsets);
  /// … then each call takes the next position of R hypotheses, [R, C]. Hypotheses of source b are rows
  /// query_offsets[b] … query_offsets[b+1] - 1: they share its memory as one sequence of queries. Evaluation
  /// only.
  Stream step(const Stream& in, DecoderLayerState& state, const std::vector<std::int64_t>& query_offsets);
  const LayerOptions& options() const { return options_; }

 private:
  SublayerOptions how() const;
  LayerOptions options_;
  Norm self_attention_norm_, cross_attention_norm_, feed_forward_norm_;
  MultiHeadAttention self_attention_, cross_attention_;
  FeedForward feed_forward_;
};

}  // namespace headway::inline v1::nn
