#include <headway/nn/sublayer.h>

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

}  // namespace headway::inline v1::nn
