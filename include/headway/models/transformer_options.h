#pragma once
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/nn/encoder_layer.h>
#include <headway/nn/positions.h>

namespace headway::inline v1::models {

/// An encoder-decoder Transformer. Plain values only, so that a file can hold them.
struct TransformerOptions {
  std::int64_t source_vocab = 0, target_vocab = 0;
  std::int64_t model_dim = 256;  ///< C
  std::int64_t heads = 4;        ///< H, dividing C
  std::int64_t kv_heads = 0;     ///< G, dividing H; 0: H
  std::int64_t encoder_layers = 3, decoder_layers = 3;
  std::int64_t feed_forward_dim = 1024;
  std::int64_t max_length = 512;  ///< of a sequence, source or target
  nn::NormPlacement norm = nn::NormPlacement::pre;
  nn::NormKind norm_kind = nn::NormKind::layer;
  nn::PositionKind positions = nn::PositionKind::sinusoidal;
  nn::FeedForwardKind activation = nn::FeedForwardKind::relu;
  nn::Projection projection = nn::Projection::combined;
  double dropout = 0.1;           ///< of embeddings and of each sublayer's output
  double attention_dropout = 0;   ///< of attention weights
  double activation_dropout = 0;  ///< inside the feed-forward networks
  bool tie_embeddings = true;  ///< one table for target embedding and output projection (Press & Wolf 2017)
  bool share_source = false;   ///< the source embedding, too; wants equal vocabularies
  DType precision =
      DType::float32;  ///< of activations: float32 or bfloat16; parameters and logits stay float32
  bool checkpoint_activations = false;  ///< keep only the borders of layers for the backward pass: less
                                        ///< memory, a third more time, the same bits in training
};

/// Error(value) or Error(shape) naming the field that cannot be.
HEADWAY_API void check(const TransformerOptions& options);
/// The options of each of its layers.
HEADWAY_API nn::LayerOptions layer_options(const TransformerOptions& options);

}  // namespace headway::inline v1::models
