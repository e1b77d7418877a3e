#include <headway/nn/decoder_layer.h>

#include <headway/ops/views.h>

namespace headway::inline v1::nn {

DecoderLayer::DecoderLayer(const LayerOptions& options, Generator& generator)
    : options_(options),
      self_attention_norm_(norm_options(options)),
      cross_attention_norm_(norm_options(options)),
      feed_forward_norm_(norm_options(options)),
      self_attention_(attention_options(options), generator),
      cross_attention_(attention_options(options), generator),
      feed_forward_(feed_forward_options(options), generator) {
  add_child("self_attention_norm", self_attention_norm_);
  add_child("self_attention", self_attention_);
  add_child("cross_attention_norm", cross_attention_norm_);
  add_child("cross_attention", cross_attention_);
  add_child("feed_forward_norm", feed_forward_norm_);
  add_child("feed_forward", feed_forward_);
}

SublayerOptions DecoderLayer::how() const {
  return {.placement = options_.norm, .dropout = options_.dropout, .generator = generator()};
}

Stream DecoderLayer::operator()(const Stream& in, const DecoderInput& input, LayerAttention* seen) {
  const Weights weights = seen ? Weights::per_head : Weights::none;
  const Stream first = sublayer(self_attention_norm_, in, how(), [&](const Tensor& x) {
    AttendOptions attend;
    attend.mask = Mask::causal();
    attend.query_offsets = input.offsets;
    attend.weights = weights;
    Attended result = self_attention_.attend(x, attend);
    if (seen) seen->self = result.weights;
    return result.output;
  });
  const Stream second = sublayer(cross_attention_norm_, first, how(), [&](const Tensor& x) {
    AttendOptions attend;
    attend.query_offsets = input.offsets;
    attend.key_offsets = input.memory_offsets;
    attend.weights = weights;
    Attended result = cross_attention_.attend(x, input.memory, input.memory, attend);
    if (seen) seen->cross = result.weights;
    return result.output;
  });
  return sublayer(feed_forward_norm_, second, how(), feed_forward_);
}

Tensor DecoderLayer::operator()(const Tensor& x, const DecoderInput& input) {
  return settle((*this)(Stream{x, {}}, input), how());
}

DecoderLayerState DecoderLayer::start(const Tensor& memory, const std::vector<std::int64_t>& memory_offsets) {
  DecoderLayerState state;
  state.memory = cross_attention_.project(memory, memory, memory_offsets);
  return state;
}

Stream DecoderLayer::step(const Stream& in, DecoderLayerState& state,
                          const std::vector<std::int64_t>& query_offsets) {
  const Stream first = sublayer(self_attention_norm_, in, how(), [&](const Tensor& x) {
    const std::int64_t rows = x.size(0), width = x.size(1);
    return reshape(self_attention_.step(reshape(x, {rows, 1, width}), state.self), {rows, width});
  });
  const Stream second = sublayer(cross_attention_norm_, first, how(), [&](const Tensor& x) {
    AttendOptions attend;
    attend.query_offsets = query_offsets;
    return cross_attention_.attend(x, state.memory, attend).output;
  });
  return sublayer(feed_forward_norm_, second, how(), feed_forward_);
}

}  // namespace headway::inline v1::nn
