#include <headway/models/transformer.h>

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/views.h>

namespace headway::inline v1::models {
namespace {

void require_evaluation(bool training, std::string_view operation) {
  if (training) {
    fail(ErrorCode::value, operation, "the model is training and would drop activations; call eval() first");
  }
}

// One sentence, so one row of the batch: [1, H, T, S] -> [H, T, S].
Tensor only(const Tensor& weights) {
  return reshape(weights, {weights.size(1), weights.size(2), weights.size(3)});
}

}  // namespace

AttentionMaps Transformer::inspect_attention(const std::vector<std::int32_t>& source,
                                             const std::vector<std::int32_t>& target) {
  require_evaluation(training(), "Transformer::inspect_attention");
  const NoGrad no_grad;
  const auto sources = static_cast<std::int64_t>(source.size());
  const auto targets = static_cast<std::int64_t>(target.size());
  std::vector<nn::LayerAttention> encoder, decoder;
  const Tensor memory = encode(from(source, {sources}), {0, sources}, &encoder);
  decode(from(target, {targets}), {{0, targets}, memory, {0, sources}}, &decoder);
  AttentionMaps maps;
  for (const nn::LayerAttention& layer : encoder) maps.encoder_self.push_back(only(layer.self));
  for (const nn::LayerAttention& layer : decoder) {
    maps.decoder_self.push_back(only(layer.self));
    maps.cross.push_back(only(layer.cross));
  }
  return maps;
}

void DecoderState::reorder(const std::vector<std::int32_t>& from) {
  for (nn::DecoderLayerState& layer : layers) layer.self.reorder(from);
}

DecoderState Transformer::start(const Tensor& memory, const std::vector<std::int64_t>& memory_offsets) {
  require_evaluation(training(), "Transformer::start");
  const NoGrad no_grad;
  DecoderState state;
  for (const auto& layer : decoder_.decoder) state.layers.push_back(layer->start(memory, memory_offsets));
  return state;
}

Tensor Transformer::step(const Tensor& ids, DecoderState& state,
                         const std::vector<std::int64_t>& query_offsets) {
  require_evaluation(training(), "Transformer::step");
  if (state.position >= options_.max_length) {
    fail(ErrorCode::value, "Transformer::step",
         fmt::format("position is {}; want below max_length = {}", state.position, options_.max_length));
  }
  const NoGrad no_grad;
  const Tensor places = full(ids.shape(), static_cast<double>(state.position), DType::int32);
  nn::Stream stream = embed(ids, *target_embedding_, *target_positions_, places);
  for (std::size_t i = 0; i < decoder_.decoder.size(); ++i) {
    stream = decoder_.decoder[i]->step(stream, state.layers[i], query_offsets);
  }
  ++state.position;
  return finish(stream, decoder_.norm);
}

}  // namespace headway::inline v1::models
