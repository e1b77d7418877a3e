#include <headway/nn/norm.h>

#include <fmt/format.h>

#include <headway/core/factory.h>

namespace headway::inline v1::nn {

Norm::Norm(const NormLayerOptions& options) : options_(options) {
  if (options.width < 1) {
    fail(ErrorCode::shape, "Norm", fmt::format("width is {}; want at least 1", options.width));
  }
  weight_ = add_parameter("weight", ones({options.width}));
  if (options.kind == NormKind::layer) bias_ = add_parameter("bias", zeros({options.width}));
}

NormResult Norm::operator()(const Tensor& x, NormOptions how) const {
  how.eps = options_.eps;
  return options_.kind == NormKind::layer ? layer_norm(x, weight_, bias_, how) : rms_norm(x, weight_, how);
}

}  // namespace headway::inline v1::nn
