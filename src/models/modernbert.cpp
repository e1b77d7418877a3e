#include <headway/models/modernbert.h>

#include "models/scores.h"
#include "models/token_check.h"

namespace headway::inline v1::models {

ModernBert::ModernBert(const ModernBertOptions& o, Generator& generator) : options_(o) {
  nn::NormLayerOptions norm{
      .width = o.model_dim, .kind = nn::NormKind::layer, .eps = o.norm_eps, .bias = o.norm_bias};
  tokens_ = std::make_unique<nn::Embedding>(
      nn::EmbeddingLayerOptions{
          .vocabulary = o.vocabulary, .width = o.model_dim, .scaled = false, .output = o.precision},
      generator);
  add_child("tokens", *tokens_);
  norm_ = std::make_unique<nn::Norm>(norm);
  add_child("norm", *norm_);
  nn::StackOptions stack{.norm = norm};
  for (const bool global : o.global) {
    nn::BlockOptions block{.attention = {.model_dim = o.model_dim,
                                         .heads = o.heads,
                                         .bias = o.attention_bias,
                                         .dropout = o.attention_dropout,
                                         .position = Position::rope(global ? o.global_rope : o.local_rope)},
                           .feed_forward = {.model_dim = o.model_dim,
                                            .hidden = o.feed_forward_dim,
                                            .kind = o.activation,
                                            .bias = o.feed_forward_bias},
                           .norm = norm,
                           .placement = nn::NormPlacement::pre,
                           .dropout = o.dropout};
    if (!global) block.window = o.local_window;
    // The embeddings are normalized already.
    block.attention_norm = !stack.blocks.empty();
    stack.blocks.push_back(block);
  }
  blocks_ = std::make_unique<nn::BlockStack>(stack, generator);
  add_child("blocks", *blocks_);
  if (o.head.kind == nn::HeadKind::none) return;
  head_ = std::make_unique<nn::TaskHead>(o.head, generator);
  add_child("head", *head_);
}

Tensor ModernBert::hidden(const PackedBatch& batch, const nn::LayerObserver& observer) {
  check_tokens(batch.ids, batch.offsets,
               {.operation = "ModernBert",
                .what = "input",
                .vocabulary = options_.vocabulary,
                .max_length = options_.max_length});
  const Tensor x = (*norm_)((*tokens_)(batch.ids)).output;
  return (*blocks_)(x, {.offsets = batch.offsets}, nullptr, observer);
}

Tensor ModernBert::scores(const PackedBatch& batch) {
  const nn::TaskHead& head = require_head(head_.get());
  Tensor x = hidden(batch);
  if (head.options().kind == nn::HeadKind::classes) x = nn::pool(x, batch.offsets, options_.head_pooling);
  return head(x, tokens_->weight());
}

}  // namespace headway::inline v1::models
