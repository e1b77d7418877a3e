#pragma once
#include <utility>

#include <headway/nn/norm.h>

/// The residual stream of a Transformer block, kept one addition behind.
///
/// Every sublayer ends in "sum = residual + dropout(update)", and in a pre-norm block the next thing done to
/// that sum is the norm of the following sublayer. Handing on (sum, update) unadded lets both be one fused
/// call, also across the border of two blocks. A post-norm block adds and normalizes at its own end, in the
/// same call.
namespace headway::inline v1::nn {

enum class NormPlacement {
  pre,    ///< x + f(norm(x)); the stack ends in a norm of its own (Xiong et al. 2020)
  post,   ///< norm(x + f(x)) (Vaswani 2017)
  both,   ///< x + norm₂(f(norm₁(x))); the stack ends in a norm of its own (Gemma 2)
  output  ///< x + norm(f(x)); the stack ends in a norm of its own (OLMo 2)
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
  double residual_scale = 1;       ///< f's result is multiplied by it before it is added
};

/// The norms of one residual branch. `output` is norm₂ of NormPlacement::both; `input` may be null with pre:
/// f(x) without a norm.
struct BranchNorms {
  const Norm* input = nullptr;
  const Norm* output = nullptr;
};

/// output = norm(sum + dropout(update)), and the addition's result.
HEADWAY_API NormResult normalize(const Norm& norm, const Stream& stream, const SublayerOptions& how);

/// The stream as one tensor, sum + dropout(update): for whoever goes on without a norm.
HEADWAY_API Tensor settle(const Stream& stream, const SublayerOptions& how);

/// f's result as it is added: multiplied by the residual scale.
HEADWAY_API Tensor scaled_update(const Tensor& x, const SublayerOptions& how);

/// One residual branch around f, a callable from [N, C] to [N, C].
template <typename F>
Stream sublayer(const BranchNorms& norms, const Stream& in, const SublayerOptions& how, F&& f) {
  switch (how.placement) {
    case NormPlacement::post:
      return {normalize(*norms.input, {in.sum, scaled_update(f(in.sum), how)}, how).output, {}};
    case NormPlacement::output: {
      const Tensor x = settle(in, how);
      return {x, scaled_update((*norms.input)(f(x)).output, how)};
    }
    case NormPlacement::pre:
    case NormPlacement::both:
      break;
  }
  if (!norms.input) {
    const Tensor x = settle(in, how);
    return {x, scaled_update(f(x), how)};
  }
  const NormResult normed = normalize(*norms.input, in, how);
  const Tensor y = f(normed.output);
  return {normed.sum, scaled_update(norms.output ? (*norms.output)(y).output : y, how)};
}
template <typename F>
Stream sublayer(const Norm& norm, const Stream& in, const SublayerOptions& how, F&& f) {
  return sublayer(BranchNorms{&norm, nullptr}, in, how, std::forward<F>(f));
}

}  // namespace headway::inline v1::nn
