#include <headway/nn/block_stack.h>

#include <string>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/ops/views.h>

namespace headway::inline v1::nn {
namespace {

/// The same rows, with a node of their own on the tape: a layer's contributions to their gradient are added
/// up there before they join those of other layers, in the order in which a checkpointed layer adds them.
Tensor own_gradient(const Tensor& memory) {
  if (!memory.defined()) return memory;
  return reshape(reshape(memory, {1, memory.size(0), memory.size(1)}), memory.shape());
}

}  // namespace

BlockStack::BlockStack(const StackOptions& options, Generator& generator) : options_(options) {
  const auto count = static_cast<std::int64_t>(options.blocks.size());
  if (count == 0) fail(ErrorCode::value, "BlockStack", "no blocks; want at least one");
  for (const std::int64_t block : options.order) {
    if (block < 0 || block >= count)
      fail(ErrorCode::value, "BlockStack",
           fmt::format("a layer is block {} of {}; want 0 to {}", block, count, count - 1));
  }
  for (const BlockOptions& block : options.blocks) {
    blocks_.push_back(std::make_unique<TransformerBlock>(block, generator));
    add_child(std::to_string(blocks_.size() - 1), *blocks_.back());
  }
  if (!options.norm) return;
  norm_ = std::make_unique<Norm>(*options.norm);
  add_child("norm", *norm_);
}

std::int64_t BlockStack::layers() const {
  return static_cast<std::int64_t>(options_.order.empty() ? blocks_.size() : options_.order.size());
}

TransformerBlock& BlockStack::block(std::int64_t layer) {
  const auto at = static_cast<std::size_t>(layer);
  return *blocks_[options_.order.empty() ? at : static_cast<std::size_t>(options_.order[at])];
}

Stream BlockStack::step(TransformerBlock& block, const Stream& in, const BlockInput& given) {
  BlockInput input = given;
  if (!options_.checkpoint || !autograd::recording()) {
    input.memory = own_gradient(given.memory);
    return block(in, input);
  }
  const bool has_update = in.update.defined();
  std::vector<Tensor> inputs{in.sum};
  if (has_update) inputs.push_back(in.update);
  if (given.memory.defined()) inputs.push_back(given.memory);
  // A checkpoint has one result: the two halves of a stream with an update travel through it as one tensor.
  const bool halves = block.options().placement != NormPlacement::post;
  const auto body = [&block, input, has_update, halves](const std::vector<Tensor>& x) mutable {
    const std::size_t streams = has_update ? 2 : 1;
    if (x.size() > streams) input.memory = x[streams];
    const Stream out = block({x[0], has_update ? x[1] : Tensor()}, input);
    return halves ? concat({out.sum, out.update}, 0) : out.sum;
  };
  const Tensor joined = checkpoint(body, inputs, {generator()});
  if (!halves) return {joined, {}};
  const std::int64_t rows = in.sum.size(0);
  return {slice(joined, 0, 0, rows), slice(joined, 0, rows, 2 * rows)};
}

Tensor BlockStack::run(const Tensor& x, const std::function<BlockInput(std::int64_t)>& input,
                       const LayerObserver& observer) {
  Stream stream{x, {}};
  if (observer) observer(0, x);
  for (std::int64_t layer = 0; layer < layers(); ++layer) {
    stream = step(block(layer), stream, input(layer));
    if (observer) observer(layer + 1, block(layer).settled(stream));
  }
  const SublayerOptions how{.dropout = options_.dropout, .generator = generator()};
  return norm_ ? normalize(*norm_, stream, how).output : settle(stream, how);
}

Tensor BlockStack::operator()(const Tensor& x, const BlockInput& input, std::vector<BlockState>* states,
                              const LayerObserver& observer, std::vector<LayerAttention>* seen) {
  if (seen) seen->resize(static_cast<std::size_t>(layers()));
  const auto at = [&](std::int64_t layer) {
    BlockInput own = input;
    if (states) own.state = &(*states)[static_cast<std::size_t>(layer)];
    if (seen) own.seen = &(*seen)[static_cast<std::size_t>(layer)];
    return own;
  };
  return run(x, at, observer);
}

void BlockStack::remember(const Tensor& memory, const std::vector<std::int64_t>& offsets,
                          std::vector<BlockState>& states, const std::vector<std::int64_t>& rows) {
  for (std::int64_t layer = 0; layer < layers(); ++layer)
    block(layer).remember(memory, offsets, states[static_cast<std::size_t>(layer)], rows);
}

}  // namespace headway::inline v1::nn
