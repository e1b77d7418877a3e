#include <headway/nn/linear.h>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/nn/initial.h>
#include <headway/ops/pointwise.h>

namespace headway::inline v1::nn {

Linear::Linear(const LinearLayerOptions& options, Generator& generator) : options_(options) {
  if (options.inputs < 1 || options.outputs < 1) {
    fail(ErrorCode::shape, "Linear",
         fmt::format("sizes are {} inputs and {} outputs; want at least 1 each", options.inputs,
                     options.outputs));
  }
  weight_ = add_parameter("weight", xavier_uniform(options.outputs, options.inputs, generator));
  if (options.bias) bias_ = add_parameter("bias", zeros({options.outputs}));
}

Tensor Linear::operator()(const Tensor& x) const {
  // A recorded product keeps its pre-activation, and its activation, where that is no relu, rounds
  // differently from the fused one by a unit in the last place. In training it is kept apart throughout, so
  // that a checkpoint's first, unrecorded run gives the bits of the second.
  if (training() && options_.activation == Activation::gelu) return gelu(linear(x, weight_, bias_));
  if (training() && options_.activation == Activation::gelu_tanh) return gelu_tanh(linear(x, weight_, bias_));
  if (training() && options_.activation == Activation::silu) return silu(linear(x, weight_, bias_));
  return linear(x, weight_, bias_, {.activation = options_.activation});
}

}  // namespace headway::inline v1::nn
