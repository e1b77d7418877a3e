#include <headway/models/transformer.h>

#include <string>
#include <utility>

#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/loss.h>
#include <headway/ops/pointwise.h>

#include "models/token_check.h"

namespace headway::inline v1::models {

Transformer::Transformer(const TransformerOptions& options, Generator& generator) : options_(options) {
  check(options);
  nn::EmbeddingLayerOptions table{
      .vocabulary = options.source_vocab, .width = options.model_dim, .output = options.precision};
  if (!options.share_source) {
    source_embedding_ = std::make_unique<nn::Embedding>(table, generator);
    add_child("source_embedding", *source_embedding_);
  }
  table.vocabulary = options.target_vocab;
  target_embedding_ = std::make_unique<nn::Embedding>(table, generator);
  add_child(options.share_source ? "embedding" : "target_embedding", *target_embedding_);

  const nn::PositionOptions positions{
      .kind = options.positions, .max_length = options.max_length, .width = options.model_dim};
  source_positions_ = std::make_unique<nn::Positions>(positions, generator);
  target_positions_ = std::make_unique<nn::Positions>(positions, generator);
  add_child("source_positions", *source_positions_);
  add_child("target_positions", *target_positions_);

  const nn::LayerOptions layer = layer_options(options);
  const auto stack = [&](std::int64_t layers, bool is_decoder) {
    nn::StackOptions of{.checkpoint = options.checkpoint_activations, .dropout = options.dropout};
    of.blocks.assign(static_cast<std::size_t>(layers), nn::block_options(layer, is_decoder));
    if (options.norm != nn::NormPlacement::post) of.norm = nn::norm_options(layer);
    return std::make_unique<nn::BlockStack>(of, generator);
  };
  encoder_ = stack(options.encoder_layers, false);
  decoder_ = stack(options.decoder_layers, true);
  add_child("encoder", *encoder_);
  add_child("decoder", *decoder_);
  output_weight_ = options.tie_embeddings
                       ? target_embedding_->weight()
                       : add_parameter("output.weight",
                                       nn::normal_rows(options.target_vocab, options.model_dim, generator));
}

Tensor Transformer::embed(const Tensor& ids, const nn::Embedding& table, const nn::Positions& positions,
                          const Tensor& position_ids) {
  const Tensor x = table(ids, positions.table(), position_ids);
  return training() && options_.dropout > 0 ? dropout(x, options_.dropout, *generator()) : x;
}

Tensor Transformer::run_encoder(const Tensor& ids, const std::vector<std::int64_t>& offsets, Seen* seen) {
  check_tokens(ids, offsets,
               {.operation = "Transformer::encode",
                .what = "source",
                .vocabulary = options_.source_vocab,
                .max_length = options_.max_length});
  const nn::Embedding& table = source_embedding_ ? *source_embedding_ : *target_embedding_;
  const Tensor x = embed(ids, table, *source_positions_, nn::position_ids(offsets));
  return (*encoder_)(x, {.offsets = offsets}, nullptr, {}, seen);
}

Tensor Transformer::encode(const Tensor& ids, const std::vector<std::int64_t>& offsets) {
  return run_encoder(ids, offsets, nullptr);
}

Memory Transformer::encode(const PackedBatch& source) {
  return {run_encoder(source.ids, source.offsets, nullptr), source.offsets};
}

Tensor Transformer::run_decoder(const Call& call, Seen* seen) {
  const Tensor x = embed(call.ids, *target_embedding_, *target_positions_, call.positions);
  return (*decoder_)(x, call.input, call.states, call.observer, seen);
}

Tensor Transformer::decode(const Tensor& ids, const nn::DecoderInput& input) {
  check_tokens(ids, input.offsets,
               {.operation = "Transformer::decode",
                .what = "target",
                .vocabulary = options_.target_vocab,
                .max_length = options_.max_length});
  return hidden({.ids = ids, .offsets = input.offsets}, {input.memory, input.memory_offsets});
}

Tensor Transformer::logits(const Tensor& hidden) const {
  return linear(hidden, output_weight_, {}, {.widen = hidden.dtype() == DType::bfloat16});
}

Tensor Transformer::loss(const TranslationBatch& batch, double label_smoothing) {
  const Tensor memory = encode(batch.source, batch.source_offsets);
  const Tensor hidden = decode(batch.target_in, {batch.target_offsets, memory, batch.source_offsets});
  return cross_entropy(logits(hidden), batch.target_out, {.label_smoothing = label_smoothing});
}

}  // namespace headway::inline v1::models
