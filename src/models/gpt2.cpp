#include <headway/models/gpt2.h>

#include <cmath>

#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>

namespace headway::inline v1::models {

Gpt2::Gpt2(const Gpt2Options& o, Generator& generator) : options_(o) {
  tokens_ = std::make_unique<nn::Embedding>(
      nn::EmbeddingLayerOptions{
          .vocabulary = o.vocabulary, .width = o.model_dim, .scaled = false, .output = o.precision},
      generator);
  add_child("tokens", *tokens_);
  positions_ = std::make_unique<nn::Positions>(
      nn::PositionOptions{
          .kind = nn::PositionKind::learned, .max_length = o.max_length, .width = o.model_dim},
      generator);
  add_child("positions", *positions_);
  const nn::NormLayerOptions norm{.width = o.model_dim, .kind = nn::NormKind::layer, .eps = o.norm_eps};
  nn::StackOptions stack{.norm = norm, .checkpoint = o.checkpoint_activations, .dropout = o.dropout};
  for (std::int64_t layer = 0; layer < o.layers; ++layer) {
    nn::BlockOptions block{
        .attention = {.model_dim = o.model_dim, .heads = o.heads, .dropout = o.attention_dropout},
        .causal = true,
        .feed_forward = {.model_dim = o.model_dim, .hidden = o.feed_forward_dim, .kind = o.activation},
        .norm = norm,
        .placement = nn::NormPlacement::pre,
        .dropout = o.dropout};
    const double scale = o.scaled_attention
                             ? 1 / std::sqrt(static_cast<double>(o.model_dim) / static_cast<double>(o.heads))
                             : 1;
    block.attention.scale = o.scaled_by_layer ? scale / static_cast<double>(layer + 1) : scale;
    stack.blocks.push_back(block);
  }
  blocks_ = std::make_unique<nn::BlockStack>(stack, generator);
  add_child("blocks", *blocks_);
  output_weight_ =
      o.tied ? tokens_->weight()
             : add_parameter("output.weight", nn::normal_rows(o.vocabulary, o.model_dim, generator));
}

Tensor Gpt2::run(const Call& call) {
  Tensor x = (*tokens_)(call.ids, positions_->table(), call.positions);
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  return (*blocks_)(x, call.input, call.states, call.observer);
}

Tensor Gpt2::logits(const Tensor& hidden) const {
  return linear(hidden, output_weight_, {}, {.widen = hidden.dtype() == DType::bfloat16});
}

}  // namespace headway::inline v1::models
