#pragma once
#include <vector>

#include <headway/nn/feed_forward.h>
#include <headway/nn/multi_head_attention.h>
#include <headway/nn/sublayer.h>

namespace headway::inline v1::nn {

/// What the blocks of an encoder or decoder have in common.
struct LayerOptions {
  std::int64_t model_dim = 0;  ///< C
  std::int64_t heads = 0;      ///< H
  std::int64_t kv_heads = 0;   ///< G; 0: H
  std::int64_t feed_forward_dim = 0;
  FeedForwardKind feed_forward = FeedForwardKind::relu;
  NormPlacement norm = NormPlacement::pre;
  NormKind norm_kind = NormKind::layer;
  double dropout = 0;             ///< of each sublayer's output
  double attention_dropout = 0;   ///< of attention weights
  double activation_dropout = 0;  ///< inside the feed-forward network
  Projection projection = Projection::combined;
};

/// Attention weights of one layer, [B, H, T, S].
struct LayerAttention {
  Tensor self, cross;
};

/// Self-attention, then feed-forward (Vaswani 2017, section 3.1), on packed rows.
class HEADWAY_API EncoderLayer : public Module {
 public:
  EncoderLayer(const LayerOptions& options, Generator& generator);
  /// Rows [N, C] of sequences at `offsets` [B+1]. With `seen`, the attention weights are returned there.
  Stream operator()(const Stream& in, const std::vector<std::int64_t>& offsets,
                    LayerAttention* seen = nullptr);
  /// The block by itself: rows [N, C] to rows [N, C].
  Tensor operator()(const Tensor& x, const std::vector<std::int64_t>& offsets);
  const LayerOptions& options() const { return options_; }

 private:
  SublayerOptions how() const;
  LayerOptions options_;
  Norm self_attention_norm_, feed_forward_norm_;
  MultiHeadAttention self_attention_;
  FeedForward feed_forward_;
};

/// The options that a layer's parts take from its own.
HEADWAY_API MultiHeadAttentionOptions attention_options(const LayerOptions& options);
HEADWAY_API FeedForwardOptions feed_forward_options(const LayerOptions& options);
HEADWAY_API NormLayerOptions norm_options(const LayerOptions& options);

}  // namespace headway::inline v1::nn
