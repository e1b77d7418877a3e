#include <headway/nn/encoder_layer.h>

namespace headway::inline v1::nn {

MultiHeadAttentionOptions attention_options(const LayerOptions& options) {
  MultiHeadAttentionOptions out;
  out.model_dim = options.model_dim;
  out.heads = options.heads;
  out.kv_heads = options.kv_heads;
  out.dropout = options.attention_dropout;
  out.projection = options.projection;
  return out;
}

FeedForwardOptions feed_forward_options(const LayerOptions& options) {
  return {.model_dim = options.model_dim,
          .hidden = options.feed_forward_dim,
          .kind = options.feed_forward,
          .dropout = options.activation_dropout};
}

NormLayerOptions norm_options(const LayerOptions& options) {
  return {.width = options.model_dim, .kind = options.norm_kind};
}

BlockOptions block_options(const LayerOptions& options, bool decoder) {
  BlockOptions out;
  out.attention = attention_options(options);
  out.causal = decoder;
  out.cross = decoder;
  out.cross_attention = attention_options(options);
  out.feed_forward = feed_forward_options(options);
  out.norm = norm_options(options);
  out.placement = options.norm;
  out.dropout = options.dropout;
  return out;
}

EncoderLayer::EncoderLayer(const LayerOptions& options, Generator& generator)
    : TransformerBlock(block_options(options), generator), options_(options) {}

}  // namespace headway::inline v1::nn
