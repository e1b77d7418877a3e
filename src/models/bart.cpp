#include <headway/models/bart.h>

#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "models/token_check.h"

namespace headway::inline v1::models {

Bart::Bart(const BartOptions& options, Generator& generator) : options_(options) {
  build(encoder_, false, generator);
  build(decoder_, true, generator);
  add_child("encoder", encoder_);
  add_child("decoder", decoder_);
  if (options.output_bias)
    output_bias_ = add_parameter("output.bias", nn::initial_zeros({options.vocabulary}));
}

void Bart::build(Side& side, bool is_decoder, Generator& generator) {
  const BartOptions& o = options_;
  if (is_decoder || o.source_vocabulary > 0) {
    side.tokens = std::make_unique<nn::Embedding>(
        nn::EmbeddingLayerOptions{.vocabulary = is_decoder ? o.vocabulary : o.source_vocabulary,
                                  .width = o.model_dim,
                                  .scaled = o.scaled_embedding,
                                  .output = o.precision},
        generator);
    side.add_child("tokens", *side.tokens);
  }
  const bool learned = o.positions == nn::PositionKind::learned;
  side.positions = std::make_unique<nn::Positions>(
      nn::PositionOptions{.kind = o.positions,
                          .max_length = o.max_length + (learned ? o.position_offset : 0),
                          .width = o.model_dim,
                          .halves = true},
      generator);
  side.add_child("positions", *side.positions);
  const nn::NormLayerOptions norm{.width = o.model_dim, .kind = nn::NormKind::layer, .eps = 1e-5};
  if (o.embedding_norm) {
    side.norm = std::make_unique<nn::Norm>(norm);
    side.add_child("norm", *side.norm);
  }
  const nn::MultiHeadAttentionOptions attention{.model_dim = o.model_dim,
                                                .heads = is_decoder ? o.decoder_heads : o.encoder_heads,
                                                .dropout = o.attention_dropout};
  nn::StackOptions stack;
  stack.blocks.assign(
      static_cast<std::size_t>(is_decoder ? o.decoder_layers : o.encoder_layers),
      {.attention = attention,
       .causal = is_decoder,
       .cross = is_decoder,
       .cross_attention = attention,
       .feed_forward = {.model_dim = o.model_dim,
                        .hidden = is_decoder ? o.decoder_feed_forward_dim : o.encoder_feed_forward_dim,
                        .kind = o.activation,
                        .dropout = o.activation_dropout},
       .norm = norm,
       .placement = nn::NormPlacement::post,
       .dropout = o.dropout});
  side.blocks = std::make_unique<nn::BlockStack>(stack, generator);
  side.add_child("blocks", *side.blocks);
}

Tensor Bart::embed(const Side& side, const Tensor& ids, const Tensor& positions) {
  Tensor table = side.positions->table();
  if (options_.positions == nn::PositionKind::learned)
    table = slice(table, 0, options_.position_offset, table.size(0));
  Tensor x = (side.tokens ? *side.tokens : *decoder_.tokens)(ids, table, positions);
  if (side.norm) x = (*side.norm)(x).output;
  return training() && options_.dropout > 0 ? dropout(x, options_.dropout, *generator()) : x;
}

Tensor Bart::encoded(const PackedBatch& source, const nn::LayerObserver& observer) {
  check_tokens(
      source.ids, source.offsets,
      {.operation = "Bart",
       .what = "source",
       .vocabulary = options_.source_vocabulary > 0 ? options_.source_vocabulary : options_.vocabulary,
       .max_length = options_.max_length});
  const Tensor x = embed(encoder_, source.ids, nn::position_ids(source.offsets));
  return (*encoder_.blocks)(x, {.offsets = source.offsets}, nullptr, observer);
}

Tensor Bart::run(const Call& call) {
  return (*decoder_.blocks)(embed(decoder_, call.ids, call.positions), call.input, call.states,
                            call.observer);
}

Tensor Bart::logits(const Tensor& hidden) const {
  return linear(hidden, decoder_.tokens->weight(), output_bias_,
                {.widen = hidden.dtype() == DType::bfloat16});
}

}  // namespace headway::inline v1::models
