#pragma once
#include <vector>

#include <headway/nn/transformer_block.h>

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

/// The usual encoder block: self-attention, then feed-forward (Vaswani 2017, section 3.1), on packed rows.
class HEADWAY_API EncoderLayer : public TransformerBlock {
 public:
  EncoderLayer(const LayerOptions& options, Generator& generator);
  /// Rows [N, C] of sequences at `offsets` [B+1].
  Stream operator()(const Stream& in, const std::vector<std::int64_t>& offsets) {
    return TransformerBlock::operator()(in, BlockInput{.offsets = offsets});
  }
  /// The block by itself: rows [N, C] to rows [N, C].
  Tensor operator()(const Tensor& x, const std::vector<std::int64_t>& offsets) {
    return TransformerBlock::operator()(x, BlockInput{.offsets = offsets});
  }
  const LayerOptions& options() const { return options_; }

 private:
  LayerOptions options_;
};

/// The block that these options mean: an encoder's, or with `decoder` one that is causal and attends to a
/// memory.
HEADWAY_API BlockOptions block_options(const LayerOptions& options, bool decoder = false);
/// The options that a layer's parts take from its own.
HEADWAY_API MultiHeadAttentionOptions attention_options(const LayerOptions& options);
HEADWAY_API FeedForwardOptions feed_forward_options(const LayerOptions& options);
HEADWAY_API NormLayerOptions norm_options(const LayerOptions& options);

}  // namespace headway::inline v1::nn
