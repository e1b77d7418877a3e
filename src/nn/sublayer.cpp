#include <headway/nn/sublayer.h>

#include <headway/ops/pointwise.h>

namespace headway::inline v1::nn {

NormResult normalize(const Norm& norm, const Stream& stream, const SublayerOptions& how) {
  if (!stream.update.defined()) return norm(stream.sum);
  NormOptions options;
  options.residual = stream.sum;
  if (how.generator && how.dropout > 0) {
    options.dropout = how.dropout;
    options.generator = how.generator;
  }
  return norm(stream.update, options);
}

Tensor settle(const Stream& stream, const SublayerOptions& how) {
  if (!stream.update.defined()) return stream.sum;
  const bool drops = how.generator && how.dropout > 0;
  return add(stream.sum, drops ? dropout(stream.update, how.dropout, *how.generator) : stream.update);
}

Tensor scaled_update(const Tensor& x, const SublayerOptions& how) {
  return how.residual_scale == 1 ? x : scale(x, how.residual_scale);
}

}  // namespace headway::inline v1::nn
