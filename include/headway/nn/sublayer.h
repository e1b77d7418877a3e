#pragma once
#include <headway/nn/norm.h>

/// The residual stream of a Transformer block, kept one addition behind.
///
/// Every sublayer ends in "sum = residual + dropout(update)", and in a pre-norm block the next thing done to
/// that sum is the norm of the following sublayer. Handing on (sum, update) unadded lets both be one fused
/// call, also across the border of two blocks. A post-norm block adds and normalizes at its own end, in the
/// same call.
namespace headway::inline v1::nn {

enum class NormPlacement {
  pre,  ///< x + f(norm(x)); the stack ends in a norm of its own (Xiong et al. 2020)
  post  ///< norm(x + f(x)) (Vaswani 2017)
};

/// Stands for sum + dropout(update); `update` may be undefined, which stands for 0.
struct Stream {
  Tensor sum, update;
};

/// How a block adds and normalizes.
struct SublayerOptions {
  NormPlacement placement = NormPlacement::pre;
  double dropout = 0;              ///< of each sublayer's output
  Generator* generator = nullptr;  ///< null in evaluation: no dropout
};

/// output = norm(sum + dropout(update)), and the addition's result.
HEADWAY_API NormResult normalize(const Norm& norm, const Stream& stream, const SublayerOptions& how);

/// The stream as one tensor, sum + dropout(update): for whoever goes on without a norm.
HEADWAY_API Tensor settle(const Stream& stream, const SublayerOptions& how);

/// One residual branch around f, a callable from [N, C] to [N, C].
template <typename F>
Stream sublayer(const Norm& norm, const Stream& in, const SublayerOptions& how, F&& f) {
  if (how.placement == NormPlacement::pre) {
    const NormResult normed = normalize(norm, in, how);
    return {normed.sum, f(normed.output)};
  }
  return {normalize(norm, {in.sum, f(in.sum)}, how).output, {}};
}

}  // namespace headway::inline v1::nn
