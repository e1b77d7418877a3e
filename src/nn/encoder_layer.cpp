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

EncoderLayer::EncoderLayer(const LayerOptions& options, Generator& generator)
    : options_(options),
      self_attention_norm_(norm_options(options)),
      feed_forward_norm_(norm_options(options)),
      self_attention_(attention_options(options), generator),
      feed_forward_(feed_forward_options(options), generator) {
  add_child("self_attention_norm", self_attention_norm_);
  add_child("self_attention", self_attention_);
  add_child("feed_forward_norm", feed_forward_norm_);
  add_child("feed_forward", feed_forward_);
}

SublayerOptions EncoderLayer::how() const {
  return {.placement = options_.norm, .dropout = options_.dropout, .generator = generator()};
}

Stream EncoderLayer::operator()(const Stream& in, const std::vector<std::int64_t>& offsets,
                                LayerAttention* seen) {
  const Stream attended = sublayer(self_attention_norm_, in, how(), [&](const Tensor& x) {
    AttendOptions attend;
    attend.query_offsets = offsets;
    if (!seen) return self_attention_(x, attend);
    attend.weights = Weights::per_head;
    Attended result = self_attention_.attend(x, attend);
    seen->self = result.weights;
    return result.output;
  });
  return sublayer(feed_forward_norm_, attended, how(), feed_forward_);
}

Tensor EncoderLayer::operator()(const Tensor& x, const std::vector<std::int64_t>& offsets) {
  return settle((*this)(Stream{x, {}}, offsets), how());
}

}  // namespace headway::inline v1::nn
