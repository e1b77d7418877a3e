#include <headway/models/bert.h>

#include <algorithm>

#include <headway/core/factory.h>
#include <headway/ops/pointwise.h>

#include "models/scores.h"
#include "models/token_check.h"

namespace headway::inline v1::models {

Bert::Bert(const BertOptions& o, Generator& generator) : options_(o) {
  const std::int64_t width = o.embedding_dim > 0 ? o.embedding_dim : o.model_dim;
  const nn::NormLayerOptions norm{.kind = nn::NormKind::layer, .eps = o.norm_eps};
  const auto table = [&](std::int64_t rows) {
    return std::make_unique<nn::Embedding>(
        nn::EmbeddingLayerOptions{.vocabulary = rows, .width = width, .scaled = false, .output = o.precision},
        generator);
  };
  tokens_ = table(o.vocabulary);
  add_child("tokens", *tokens_);
  // Rows up to the padding token's belong to nobody.
  const std::int64_t rows = o.max_length + (o.padding >= 0 ? o.padding + 1 : 0);
  positions_ = std::make_unique<nn::Positions>(
      nn::PositionOptions{.kind = nn::PositionKind::learned, .max_length = rows, .width = width}, generator);
  add_child("positions", *positions_);
  if (o.types > 0) {
    types_ = table(o.types);
    add_child("types", *types_);
  }
  norm_ =
      std::make_unique<nn::Norm>(nn::NormLayerOptions{.width = width, .kind = norm.kind, .eps = norm.eps});
  add_child("norm", *norm_);
  if (o.embedding_dim > 0) {
    projection_ = std::make_unique<nn::Linear>(
        nn::LinearLayerOptions{.inputs = width, .outputs = o.model_dim}, generator);
    add_child("projection", *projection_);
  }
  const nn::BlockOptions block{
      .attention = {.model_dim = o.model_dim, .heads = o.heads, .dropout = o.attention_dropout},
      .feed_forward = {.model_dim = o.model_dim, .hidden = o.feed_forward_dim, .kind = o.activation},
      .norm = norm,
      .placement = nn::NormPlacement::post,
      .dropout = o.dropout};
  nn::StackOptions stack{.order = o.layer_order};
  const bool shared = !o.layer_order.empty();
  const std::int64_t blocks =
      shared ? 1 + *std::max_element(o.layer_order.begin(), o.layer_order.end()) : o.layers;
  stack.blocks.assign(static_cast<std::size_t>(blocks), block);
  blocks_ = std::make_unique<nn::BlockStack>(stack, generator);
  add_child("blocks", *blocks_);
  if (o.pooler) {
    pooler_ = std::make_unique<nn::Linear>(
        nn::LinearLayerOptions{.inputs = o.model_dim, .outputs = o.model_dim}, generator);
    add_child("pooler", *pooler_);
  }
  if (o.head.kind != nn::HeadKind::none) {
    head_ = std::make_unique<nn::TaskHead>(o.head, generator);
    add_child("head", *head_);
  }
}

Tensor Bert::position_ids(const PackedBatch& batch) const {
  if (options_.padding < 0) return nn::position_ids(batch.offsets);
  const auto tokens = batch.ids.to_vector<std::int32_t>();
  std::vector<std::int32_t> positions(tokens.size(), options_.padding);
  for (std::size_t b = 0; b + 1 < batch.offsets.size(); ++b) {
    std::int32_t position = options_.padding;
    for (auto i = static_cast<std::size_t>(batch.offsets[b]);
         i < static_cast<std::size_t>(batch.offsets[b + 1]); ++i) {
      if (tokens[i] != options_.padding) positions[i] = ++position;
    }
  }
  return from(positions, {static_cast<std::int64_t>(positions.size())});
}

Tensor Bert::hidden(const PackedBatch& batch, const nn::LayerObserver& observer) {
  check_tokens(batch.ids, batch.offsets,
               {.operation = "Bert",
                .what = "input",
                .vocabulary = options_.vocabulary,
                .max_length = options_.max_length});
  Tensor x = (*tokens_)(batch.ids, positions_->table(), position_ids(batch));
  if (types_) {
    const Tensor types = batch.types.defined() ? batch.types : zeros(batch.ids.shape(), DType::int32);
    x = add(x, (*types_)(types));
  }
  x = (*norm_)(x).output;
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  if (projection_) x = (*projection_)(x);
  return (*blocks_)(x, {.offsets = batch.offsets}, nullptr, observer);
}

Tensor Bert::pooled(const Tensor& hidden, const std::vector<std::int64_t>& offsets) {
  if (!pooler_) return {};
  return tanh((*pooler_)(nn::pool(hidden, offsets, nn::Pooling::cls)));
}

Tensor Bert::scores(const PackedBatch& batch) {
  const nn::TaskHead& head = require_head(head_.get());
  Tensor x = hidden(batch);
  if (head.options().kind == nn::HeadKind::classes) {
    x = options_.head_takes_pooled && pooler_ ? pooled(x, batch.offsets)
                                              : nn::pool(x, batch.offsets, options_.head_pooling);
  }
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  return head(x, tokens_->weight());
}

}  // namespace headway::inline v1::models
