#pragma once
#include <headway/core/generator.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

struct NormOptions {
  double eps = 1e-5;
  /// Added to dropout(x) before normalizing: sum = residual + dropout(x). Shape and dtype of x, or undefined.
  Tensor residual = {};
  double dropout = 0;              ///< probability of zeroing an element of x; 0 in evaluation
  Generator* generator = nullptr;  ///< wanted when dropout > 0
};

struct NormResult {
  Tensor output;  ///< normalized, shape of x
  Tensor sum;     ///< what was normalized; x itself without residual
};

/// Layer normalization (Ba et al. 2016) over the last dimension: output = (s - mean)/sqrt(var + eps)·weight +
/// bias with s = residual + dropout(x). x [..., C]; weight, bias [C] (bias may be undefined). The residual
/// addition and the dropout are fused; statistics are float32.
HEADWAY_API NormResult layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                  const NormOptions& options = {});

/// Root-mean-square normalization (Zhang & Sennrich 2019): output = s/sqrt(mean(s²) + eps)·weight.
HEADWAY_API NormResult rms_norm(const Tensor& x, const Tensor& weight, const NormOptions& options = {});

}  // namespace headway::inline v1
