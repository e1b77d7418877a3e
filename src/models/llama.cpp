#include <headway/models/llama.h>

#include <headway/core/error.h>
#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>

namespace headway::inline v1::models {

Llama::Llama(const LlamaOptions& o, Generator& generator) : options_(o) {
  tokens_ = std::make_unique<nn::Embedding>(nn::EmbeddingLayerOptions{.vocabulary = o.vocabulary,
                                                                      .width = o.model_dim,
                                                                      .scaled = o.scaled_embedding,
                                                                      .output = o.precision},
                                            generator);
  add_child("tokens", *tokens_);
  const nn::NormLayerOptions norm{
      .width = o.model_dim, .kind = o.norm_kind, .eps = o.norm_eps, .unit_offset = o.norm_unit_offset};
  nn::StackOptions stack{.norm = norm, .checkpoint = o.checkpoint_activations, .dropout = o.dropout};
  for (const LlamaLayer& layer : o.layers) {
    nn::BlockOptions block{.attention = {.model_dim = o.model_dim,
                                         .heads = o.heads,
                                         .kv_heads = o.kv_heads,
                                         .head_dim = o.head_dim,
                                         .bias = o.qkv_bias,
                                         .dropout = o.attention_dropout,
                                         .softcap = o.attention_softcap,
                                         .position = Position::rope(layer.rope),
                                         .output_bias = o.output_bias,
                                         .qk_norm = o.qk_norm,
                                         .qk_norm_options = norm},
                           .causal = o.causal,
                           .feed_forward = {.model_dim = o.model_dim,
                                            .hidden = o.feed_forward_dim,
                                            .kind = o.activation,
                                            .bias = o.feed_forward_bias},
                           .norm = norm,
                           .placement = o.placement,
                           .dropout = o.dropout};
    if (o.attention_scale > 0) block.attention.scale = o.attention_scale;
    if (layer.window > 0) block.window = o.causal ? layer.window - 1 : layer.window / 2;
    stack.blocks.push_back(block);
  }
  blocks_ = std::make_unique<nn::BlockStack>(stack, generator);
  add_child("blocks", *blocks_);
  output_weight_ =
      o.tied ? tokens_->weight()
             : add_parameter("output.weight", nn::normal_rows(o.classes > 0 ? o.classes : o.vocabulary,
                                                              o.model_dim, generator));
}

Tensor Llama::run(const Call& call) {
  if (call.states && !options_.causal) {
    fail(ErrorCode::unsupported, "Llama",
         "its positions see those behind them (use_bidirectional_attention): it embeds, and writes nothing");
  }
  Tensor x = (*tokens_)(call.ids);
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  return (*blocks_)(x, call.input, call.states, call.observer);
}

Tensor Llama::logits(const Tensor& hidden) const {
  const Tensor y = linear(hidden, output_weight_, {}, {.widen = hidden.dtype() == DType::bfloat16});
  if (options_.logit_softcap <= 0) return y;
  return scale(tanh(scale(y, 1 / options_.logit_softcap)), options_.logit_softcap);
}

}  // namespace headway::inline v1::models
