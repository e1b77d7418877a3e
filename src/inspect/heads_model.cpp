#include <headway/inspect/heads_model.h>

#include <cmath>
#include <string>

#include <headway/core/factory.h>
#include <headway/ops/embedding.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

namespace headway::inline v1::inspect {

struct HeadsModel::Block : nn::Module {
  Block(Heads kind, const HeadsModelOptions& options, Generator& generator)
      : first({.width = options.model_dim}),
        heads(kind, options.model_dim, options.heads, generator),
        second({.width = options.model_dim}),
        feed_forward({.model_dim = options.model_dim, .hidden = 2 * options.model_dim}, generator) {
    add_child("first", first);
    add_child("heads", heads);
    add_child("second", second);
    add_child("feed_forward", feed_forward);
  }
  nn::Norm first;
  HeadsLayer heads;
  nn::Norm second;
  nn::FeedForward feed_forward;
};

HeadsModel::HeadsModel(Heads kind, const HeadsModelOptions& options, Generator& generator)
    : options_(options),
      embedding_({.vocabulary = options.vocabulary, .width = options.model_dim}, generator),
      positions_(
          {.kind = nn::PositionKind::learned, .max_length = options.length, .width = options.model_dim},
          generator),
      last_({.width = options.model_dim}),
      output_({.inputs = options.model_dim, .outputs = options.vocabulary}, generator) {
  add_child("embedding", embedding_);
  add_child("positions", positions_);
  for (std::int64_t l = 0; l < options.layers; ++l) {
    blocks_.push_back(std::make_shared<Block>(kind, options, generator));
    add_child(std::to_string(l), *blocks_.back());
  }
  add_child("last", last_);
  add_child("output", output_);
}

HeadsModel::Result HeadsModel::attend(const Tensor& ids, Weights weights) {
  std::vector<std::int32_t> places;
  for (std::int64_t i = 0; i < ids.numel(); ++i) places.push_back(static_cast<std::int32_t>(i % ids.size(1)));
  Tensor x = embedding(ids, embedding_.weight(),
                       {.scale = std::sqrt(static_cast<double>(options_.model_dim)),
                        .positions = positions_.table(),
                        .position_ids = from(places, ids.shape())});
  Result result;
  for (const auto& block : blocks_) {
    nn::AttendOptions how;
    how.mask = options_.mask;
    how.weights = weights;
    const nn::Attended attended = block->heads(block->first(x).output, how);
    if (weights != Weights::none) result.weights.push_back(attended.weights);
    x = add(x, attended.output);
    x = add(x, block->feed_forward(block->second(x).output));
  }
  result.logits = output_(reshape(last_(x).output, {ids.numel(), options_.model_dim}));
  return result;
}

}  // namespace headway::inline v1::inspect
