#include <headway/models/transformer.h>

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/views.h>

#include "models/token_check.h"

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
  const Tensor memory = run_encoder(from(source, {sources}), {0, sources}, &encoder);
  const Tensor ids = from(target, {targets});
  check_tokens(ids, {0, targets},
               {.operation = "Transformer::inspect_attention",
                .what = "target",
                .vocabulary = options_.target_vocab,
                .max_length = options_.max_length});
  run_decoder({.ids = ids,
               .positions = nn::position_ids({0, targets}),
               .input = {.offsets = {0, targets}, .memory = memory, .memory_offsets = {0, sources}},
               .states = nullptr,
               .observer = {}},
              &decoder);
  AttentionMaps maps;
  for (const nn::LayerAttention& layer : encoder) maps.encoder_self.push_back(only(layer.self));
  for (const nn::LayerAttention& layer : decoder) {
    maps.decoder_self.push_back(only(layer.self));
    maps.cross.push_back(only(layer.cross));
  }
  return maps;
}

}  // namespace headway::inline v1::models
