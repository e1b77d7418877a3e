#include <headway/models/t5.h>

#include <cmath>

#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>

#include "models/token_check.h"

namespace headway::inline v1::models {

T5::T5(const T5Config& o, Generator& generator) : options_(o) {
  tokens_ = std::make_unique<nn::Embedding>(
      nn::EmbeddingLayerOptions{
          .vocabulary = o.vocabulary, .width = o.model_dim, .scaled = false, .output = o.precision},
      generator);
  add_child("tokens", *tokens_);
  build(encoder_, o.encoder_layers, false, generator);
  add_child("encoder", encoder_);
  if (o.decoder_layers == 0) return;
  build(decoder_, o.decoder_layers, true, generator);
  add_child("decoder", decoder_);
  output_weight_ =
      o.tied ? tokens_->weight()
             : add_parameter("output.weight", nn::normal_rows(o.vocabulary, o.model_dim, generator));
}

void T5::build(Side& side, std::int64_t layers, bool is_decoder, Generator& generator) {
  const T5Config& o = options_;
  const nn::NormLayerOptions norm{.width = o.model_dim, .kind = nn::NormKind::rms, .eps = o.norm_eps};
  const nn::MultiHeadAttentionOptions attention{.model_dim = o.model_dim,
                                                .heads = o.heads,
                                                .head_dim = o.head_dim,
                                                .bias = false,
                                                .dropout = o.dropout,
                                                .scale = 1.0};
  const nn::BlockOptions block{.attention = attention,
                               .causal = is_decoder,
                               .cross = is_decoder,
                               .cross_attention = attention,
                               .feed_forward = {.model_dim = o.model_dim,
                                                .hidden = o.feed_forward_dim,
                                                .kind = o.activation,
                                                .dropout = o.dropout,
                                                .bias = false},
                               .norm = norm,
                               .placement = nn::NormPlacement::pre,
                               .dropout = o.dropout};
  nn::StackOptions stack{.norm = norm, .dropout = o.dropout};
  stack.blocks.assign(static_cast<std::size_t>(layers), block);
  side.table = side.add_parameter("position_table", nn::normal_rows(o.buckets, o.heads, generator));
  side.blocks = std::make_unique<nn::BlockStack>(stack, generator);
  side.add_child("blocks", *side.blocks);
}

nn::BlockStack& T5::decoder() {
  if (!decoder_.blocks)
    fail(ErrorCode::unsupported, "T5", "this model is an encoder alone: it embeds, and writes nothing");
  return *decoder_.blocks;
}

Tensor T5::embed(const Tensor& ids) {
  const Tensor x = (*tokens_)(ids);
  return training() && options_.dropout > 0 ? dropout(x, options_.dropout, *generator()) : x;
}

Tensor T5::encoded(const PackedBatch& source, const nn::LayerObserver& observer) {
  check_tokens(source.ids, source.offsets,
               {.operation = "T5", .what = "source", .vocabulary = options_.vocabulary});
  const Position position =
      Position::t5(encoder_.table, {.bidirectional = true, .max_distance = options_.max_distance});
  const Tensor x = (*encoder_.blocks)(embed(source.ids), {.offsets = source.offsets, .position = position},
                                      nullptr, observer);
  return training() && options_.dropout > 0 ? dropout(x, options_.dropout, *generator()) : x;
}

Tensor T5::run(const Call& call) {
  nn::BlockInput input = call.input;
  input.position =
      Position::t5(decoder_.table, {.bidirectional = false, .max_distance = options_.max_distance});
  const Tensor x = decoder()(embed(call.ids), input, call.states, call.observer);
  return training() && options_.dropout > 0 ? dropout(x, options_.dropout, *generator()) : x;
}

Tensor T5::logits(const Tensor& hidden) const {
  const Tensor x =
      options_.scaled_output ? scale(hidden, 1 / std::sqrt(static_cast<double>(options_.model_dim))) : hidden;
  return linear(x, output_weight_, {}, {.widen = x.dtype() == DType::bfloat16});
}

}  // namespace headway::inline v1::models
