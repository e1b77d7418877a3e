#pragma once
#include <headway/core/generator.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// max(x, 0).
HEADWAY_API Tensor relu(const Tensor& x);
/// x·Φ(x), exact (erf), Hendrycks & Gimpel 2016.
HEADWAY_API Tensor gelu(const Tensor& x);
/// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), the approximation of gelu that GPT-2 and others were trained
/// with (Hendrycks & Gimpel 2016, section 2).
HEADWAY_API Tensor gelu_tanh(const Tensor& x);
/// x·sigmoid(x), Elfwing et al. 2018.
HEADWAY_API Tensor silu(const Tensor& x);
/// tanh x.
HEADWAY_API Tensor tanh(const Tensor& x);
/// 1/sqrt(x).
HEADWAY_API Tensor rsqrt(const Tensor& x);
/// Zeroes elements with probability p and divides the others by 1 - p (Srivastava et al. 2014). p in [0, 1).
/// The decisions are drawn again in the backward pass, never stored.
HEADWAY_API Tensor dropout(const Tensor& x, double p, Generator& generator);

/// Elementwise, with NumPy's broadcasting; gradients sum over broadcast dimensions.
HEADWAY_API Tensor add(const Tensor& a, const Tensor& b);
HEADWAY_API Tensor mul(const Tensor& a, const Tensor& b);
/// x·factor.
HEADWAY_API Tensor scale(const Tensor& x, double factor);
/// Sum of all elements, rank 0; accumulated in float64 order-independently of threads.
HEADWAY_API Tensor sum(const Tensor& x);

}  // namespace headway::inline v1
