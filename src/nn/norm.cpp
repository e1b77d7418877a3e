#include <headway/nn/norm.h>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/nn/initial.h>
#include <headway/ops/pointwise.h>

namespace headway::inline v1::nn {

Norm::Norm(const NormLayerOptions& options) : options_(options) {
  if (options.width < 1) {
    fail(ErrorCode::shape, "Norm", fmt::format("width is {}; want at least 1", options.width));
  }
  if (options.unit_offset) one_ = ones({1});
  weight_ = add_parameter(
      "weight", options.unit_offset ? initial_zeros({options.width}) : initial_ones({options.width}));
  if (options.kind == NormKind::layer && options.bias)
    bias_ = add_parameter("bias", initial_zeros({options.width}));
}

NormResult Norm::operator()(const Tensor& x, NormOptions how) const {
  how.eps = options_.eps;
  const Tensor weight = one_.defined() ? add(weight_, one_) : weight_;
  return options_.kind == NormKind::layer ? layer_norm(x, weight, bias_, how) : rms_norm(x, weight, how);
}

}  // namespace headway::inline v1::nn
