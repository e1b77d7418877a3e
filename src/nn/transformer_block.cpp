#include <headway/nn/transformer_block.h>

#include <string>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/ops/embedding.h>
#include <headway/ops/views.h>

namespace headway::inline v1::nn {
namespace {

Mask mask_of(const BlockOptions& o) {
  if (o.window < 0) return o.causal ? Mask::causal() : Mask();
  return o.causal ? Mask::causal() & Mask::window(o.window, 0) : Mask::window(o.window, o.window);
}

}  // namespace

TransformerBlock::TransformerBlock(const BlockOptions& options, Generator& generator) : options_(options) {
  options_.norm.width = options_.attention.model_dim;
  if (!options.attention_norm && options.placement != NormPlacement::pre) {
    fail(ErrorCode::unsupported, "TransformerBlock",
         "attention_norm is off with norms that are not before their part; want NormPlacement::pre");
  }
  self_branch_ = add_branch("self_attention", options.attention_norm);
  self_attention_ = std::make_unique<MultiHeadAttention>(options.attention, generator);
  add_child("self_attention", *self_attention_);
  if (options.cross) {
    cross_branch_ = add_branch("cross_attention", true);
    cross_attention_ = std::make_unique<MultiHeadAttention>(options.cross_attention, generator);
    add_child("cross_attention", *cross_attention_);
  }
  feed_forward_branch_ = add_branch("feed_forward", true);
  feed_forward_ = std::make_unique<FeedForward>(options.feed_forward, generator);
  add_child("feed_forward", *feed_forward_);
}

TransformerBlock::Branch TransformerBlock::add_branch(const char* name, bool has_norm) {
  Branch branch;
  if (has_norm) {
    branch.norm = std::make_unique<Norm>(options_.norm);
    add_child(fmt::format("{}_norm", name), *branch.norm);
  }
  if (options_.placement == NormPlacement::both) {
    branch.output_norm = std::make_unique<Norm>(options_.norm);
    add_child(fmt::format("{}_output_norm", name), *branch.output_norm);
  }
  return branch;
}

SublayerOptions TransformerBlock::how() const {
  return {.placement = options_.placement,
          .dropout = options_.dropout,
          .generator = generator(),
          .residual_scale = options_.residual_scale};
}

Tensor TransformerBlock::attend_self(const Tensor& x, const BlockInput& input) {
  AttendOptions attend;
  attend.mask = mask_of(options_);
  attend.position = input.position;
  attend.query_offsets = input.offsets;
  if (input.state) return self_attention_->attend(x, input.state->self, input.rows, attend).output;
  attend.weights = input.seen ? Weights::per_head : Weights::none;
  Tensor keys = x;
  if (input.zeros_before > 0) {
    attend.key_offsets = {0};
    std::vector<std::int32_t> order;  // of row 0, the zeros, and x's rows
    for (std::size_t b = 0; b + 1 < input.offsets.size(); ++b) {
      order.insert(order.end(), static_cast<std::size_t>(input.zeros_before), 0);
      for (std::int64_t i = input.offsets[b]; i < input.offsets[b + 1]; ++i)
        order.push_back(static_cast<std::int32_t>(i + 1));
      attend.key_offsets.push_back(static_cast<std::int64_t>(order.size()));
    }
    keys =
        gather(concat({zero_row(x.dtype()), x}, 0), from(order, {static_cast<std::int64_t>(order.size())}));
  }
  const Attended attended = self_attention_->attend(x, keys, keys, attend);
  if (input.seen) input.seen->self = attended.weights;
  return attended.output;
}

// What self-attention reads of a row of zeros in the stream: [1, C].
Tensor TransformerBlock::zero_row(DType dtype) const {
  const Tensor zero = zeros({1, options_.attention.model_dim}, dtype);
  const bool reads_normed =
      options_.placement == NormPlacement::pre || options_.placement == NormPlacement::both;
  return reads_normed && self_branch_.norm ? (*self_branch_.norm)(zero).output : zero;
}

void TransformerBlock::begin(BlockState& state, const std::vector<std::int64_t>& rows, std::int64_t count) {
  std::vector<std::int64_t> offsets{0};
  for (std::size_t i = 0; i < rows.size(); ++i) offsets.push_back(offsets.back() + count);
  const Tensor all = gather(zero_row(DType::float32), zeros({offsets.back()}, DType::int32));
  self_attention_->remember(all, offsets, state.self, rows);
}

Tensor TransformerBlock::attend_memory(const Tensor& x, const BlockInput& input) {
  AttendOptions attend;
  attend.query_offsets = input.state ? input.memory_queries : input.offsets;
  if (input.state) {
    return cross_attention_->attend_memory(x, input.state->memory, input.memory_rows, attend).output;
  }
  attend.key_offsets = input.memory_offsets;
  attend.weights = input.seen ? Weights::per_head : Weights::none;
  const Attended attended = cross_attention_->attend(x, input.memory, input.memory, attend);
  if (input.seen) input.seen->cross = attended.weights;
  return attended.output;
}

Stream TransformerBlock::operator()(const Stream& in, const BlockInput& input) {
  Stream stream =
      sublayer(self_branch_.norms(), in, how(), [&](const Tensor& x) { return attend_self(x, input); });
  if (cross_attention_) {
    stream = sublayer(cross_branch_.norms(), stream, how(),
                      [&](const Tensor& x) { return attend_memory(x, input); });
  }
  return sublayer(feed_forward_branch_.norms(), stream, how(), *feed_forward_);
}

Tensor TransformerBlock::operator()(const Tensor& x, const BlockInput& input) {
  return settled((*this)(Stream{x, {}}, input));
}

void TransformerBlock::remember(const Tensor& memory, const std::vector<std::int64_t>& offsets,
                                BlockState& state, const std::vector<std::int64_t>& rows) {
  if (cross_attention_) cross_attention_->remember(memory, offsets, state.memory, rows);
}

}  // namespace headway::inline v1::nn
