#include <headway/models/transformer.h>

#include <string>
#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/loss.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

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
  for (std::int64_t i = 0; i < options.encoder_layers; ++i) {
    encoder_.encoder.push_back(std::make_unique<nn::EncoderLayer>(layer, generator));
    encoder_.add_child(std::to_string(i), *encoder_.encoder.back());
  }
  for (std::int64_t i = 0; i < options.decoder_layers; ++i) {
    decoder_.decoder.push_back(std::make_unique<nn::DecoderLayer>(layer, generator));
    decoder_.add_child(std::to_string(i), *decoder_.decoder.back());
  }
  for (Stack* stack : {&encoder_, &decoder_}) {
    if (options.norm == nn::NormPlacement::post) continue;
    stack->norm = std::make_unique<nn::Norm>(nn::norm_options(layer));
    stack->add_child("norm", *stack->norm);
  }
  add_child("encoder", encoder_);
  add_child("decoder", decoder_);
  output_weight_ = options.tie_embeddings
                       ? target_embedding_->weight()
                       : add_parameter("output.weight",
                                       nn::normal_rows(options.target_vocab, options.model_dim, generator));
}

nn::Stream Transformer::embed(const Tensor& ids, const nn::Embedding& table, const nn::Positions& positions,
                              const Tensor& position_ids) {
  Tensor x = table(ids, positions.table(), position_ids);
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  return {x, {}};
}

Tensor Transformer::finish(const nn::Stream& stream, const std::unique_ptr<nn::Norm>& norm) {
  if (!norm) return stream.sum;
  return nn::normalize(*norm, stream, {.dropout = options_.dropout, .generator = generator()}).output;
}

namespace {
/// The same rows, with a node of their own on the tape: a layer's contributions to their gradient are added
/// up there before they join those of other layers, in the order in which a checkpointed layer adds them.
Tensor own_gradient(const Tensor& memory) {
  if (!memory.defined()) return memory;
  return reshape(reshape(memory, {1, memory.size(0), memory.size(1)}), memory.shape());
}
}  // namespace

nn::Stream Transformer::run(const Layer& layer, const nn::Stream& in, const Tensor& memory) {
  if (!options_.checkpoint_activations || !autograd::recording()) return layer(in, own_gradient(memory));
  const bool has_update = in.update.defined();
  std::vector<Tensor> inputs{in.sum};
  if (has_update) inputs.push_back(in.update);
  if (memory.defined()) inputs.push_back(memory);
  // A checkpoint has one result: the two halves of a pre-norm stream travel through it as one tensor.
  const bool halves = options_.norm == nn::NormPlacement::pre;
  const auto body = [layer, has_update, halves](const std::vector<Tensor>& x) {
    const std::size_t streams = has_update ? 2 : 1;
    const nn::Stream out =
        layer({x[0], has_update ? x[1] : Tensor()}, x.size() > streams ? x[streams] : Tensor());
    return halves ? concat({out.sum, out.update}, 0) : out.sum;
  };
  const Tensor joined = checkpoint(body, inputs, {generator()});
  if (!halves) return {joined, {}};
  const std::int64_t rows = in.sum.size(0);
  return {slice(joined, 0, 0, rows), slice(joined, 0, rows, 2 * rows)};
}

Tensor Transformer::encode(const Tensor& ids, const std::vector<std::int64_t>& offsets) {
  return encode(ids, offsets, nullptr);
}

Tensor Transformer::encode(const Tensor& ids, const std::vector<std::int64_t>& offsets,
                           std::vector<nn::LayerAttention>* seen) {
  check_tokens(ids, offsets,
               {.operation = "Transformer::encode",
                .what = "source",
                .vocabulary = options_.source_vocab,
                .max_length = options_.max_length});
  const nn::Embedding& table = source_embedding_ ? *source_embedding_ : *target_embedding_;
  nn::Stream stream = embed(ids, table, *source_positions_, nn::position_ids(offsets));
  for (const auto& layer : encoder_.encoder) {
    nn::LayerAttention* weights = seen ? &seen->emplace_back() : nullptr;
    stream = run([part = layer.get(), offsets, weights](
                     const nn::Stream& in, const Tensor&) { return (*part)(in, offsets, weights); },
                 stream);
  }
  return finish(stream, encoder_.norm);
}

Tensor Transformer::decode(const Tensor& ids, const nn::DecoderInput& input) {
  return decode(ids, input, nullptr);
}

Tensor Transformer::decode(const Tensor& ids, const nn::DecoderInput& input,
                           std::vector<nn::LayerAttention>* seen) {
  check_tokens(ids, input.offsets,
               {.operation = "Transformer::decode",
                .what = "target",
                .vocabulary = options_.target_vocab,
                .max_length = options_.max_length});
  if (input.memory_offsets.size() != input.offsets.size()) {
    fail(ErrorCode::shape, "Transformer::decode",
         fmt::format("memory has {} sentences, target has {}; want as many",
                     static_cast<std::int64_t>(input.memory_offsets.size()) - 1, input.offsets.size() - 1));
  }
  nn::Stream stream = embed(ids, *target_embedding_, *target_positions_, nn::position_ids(input.offsets));
  for (const auto& layer : decoder_.decoder) {
    nn::LayerAttention* weights = seen ? &seen->emplace_back() : nullptr;
    const auto part = [part = layer.get(), offsets = input.offsets, memory_offsets = input.memory_offsets,
                       weights](const nn::Stream& in, const Tensor& memory) {
      return (*part)(in, {offsets, memory, memory_offsets}, weights);
    };
    stream = run(part, stream, input.memory);
  }
  return finish(stream, decoder_.norm);
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
