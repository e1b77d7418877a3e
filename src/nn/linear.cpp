#include <headway/nn/linear.h>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/nn/initial.h>

namespace headway::inline v1::nn {

Linear::Linear(const LinearLayerOptions& options, Generator& generator) : options_(options) {
  if (options.inputs < 1 || options.outputs < 1) {
    fail(ErrorCode::shape, "Linear",
         fmt::format("sizes are {} inputs and {} outputs; want at least 1 each", options.inputs, options.outputs));
  }
  weight_ = add_parameter("weight", xavier_uniform(options.outputs, options.inputs, generator));
  if (options.bias) bias_ = add_parameter("bias", zeros({options.outputs}));
}

Tensor Linear::operator()(const Tensor& x) const {
  return linear(x, weight_, bias_, {.activation = options_.activation});
}

}  // namespace headway::inline v1::nn
