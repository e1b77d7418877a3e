#include <headway/nn/task_head.h>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/nn/initial.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/segments.h>

namespace headway::inline v1::nn {

Tensor activate(const Tensor& x, HeadActivation activation) {
  switch (activation) {
    case HeadActivation::tanh:
      return tanh(x);
    case HeadActivation::relu:
      return relu(x);
    case HeadActivation::gelu:
      return gelu(x);
    case HeadActivation::gelu_tanh:
      return gelu_tanh(x);
    case HeadActivation::silu:
      return silu(x);
    case HeadActivation::quick_gelu:
      return scale(silu(scale(x, 1.702)), 1 / 1.702);
    case HeadActivation::relu2: {
      const Tensor y = relu(x);
      return mul(y, y);
    }
    case HeadActivation::none:
      break;
  }
  return x;
}

TaskHead::TaskHead(const TaskHeadOptions& options, Generator& generator) : options_(options) {
  std::int64_t width = options.width;
  if (options.dense) {
    if (options.dense_width == 0) options_.dense_width = width;
    dense_ = std::make_unique<Linear>(
        LinearLayerOptions{.inputs = width, .outputs = options_.dense_width, .bias = options.dense_bias},
        generator);
    add_child("dense", *dense_);
    width = options_.dense_width;
  }
  if (options.norm) {
    NormLayerOptions norm = *options.norm;
    norm.width = width;
    norm_ = std::make_unique<Norm>(norm);
    add_child("norm", *norm_);
  }
  if (!options.tied)
    weight_ = add_parameter("output.weight", xavier_uniform(options.outputs, width, generator));
  if (options.bias) bias_ = add_parameter("output.bias", initial_zeros({options.outputs}));
}

Tensor TaskHead::operator()(const Tensor& in, const Tensor& tied) const {
  Tensor x = in;
  if (dense_) x = activate((*dense_)(x), options_.activation);
  if (norm_) x = (*norm_)(x).output;
  return linear(x, options_.tied ? tied : weight_, bias_, {.widen = x.dtype() == DType::bfloat16});
}

Tensor pool(const Tensor& hidden, const std::vector<std::int64_t>& offsets, Pooling pooling) {
  std::vector<std::int32_t> rows;
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    if (offsets[b + 1] == offsets[b])
      fail(ErrorCode::value, "pool", fmt::format("sequence {} has no rows; want at least one", b));
    rows.push_back(static_cast<std::int32_t>(pooling == Pooling::cls ? offsets[b] : offsets[b + 1] - 1));
  }
  if (pooling == Pooling::mean) return segment_mean(hidden, offsets);
  return gather(hidden, from(rows, {static_cast<std::int64_t>(rows.size())}));
}

}  // namespace headway::inline v1::nn
