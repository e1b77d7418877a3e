#pragma once
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1 {

enum class Activation { none, relu, gelu, gelu_tanh, silu };

struct LinearOptions {
  Activation activation = Activation::none;  ///< applied to x·Wᵀ + b, fused into the product
  bool widen = false;                        ///< bfloat16 x, float32 result (logits)
};

/// y = act(x·Wᵀ + b). x [..., I] float32, bfloat16 or float64 (rows may be strided), weight [O, I], bias [O]
/// or undefined -> [..., O] contiguous, of x's dtype. Float32 weights serve bfloat16 x through a bfloat16
/// copy cached by their version; products add up in float32. Gradients of weight and bias have the weight's
/// dtype.
///
/// Where nothing is recorded (NoGrad, or no operand wants a gradient), a row of y has the same bits whatever
/// the number of rows and its place among them (kernels/row_gemm.h), weights and biases may also be bfloat16
/// or float16, and a weight whose storage is on demand stays so: it exists packed alone. What is recorded,
/// and both runs of checkpoint(), go through oneDNN, whose rows may differ by roundings; validation during
/// training is not recorded, so it packs each weight anew after every step.
HEADWAY_API Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                          LinearOptions options = {});

/// One product for each head: x [..., I] and weights of H matrices [D, I] (biases: H vectors [D], or none)
/// -> [..., H, D]. With sliced input head h reads columns h·I/H … (h+1)·I/H - 1 of x, and its matrix is [D,
/// I/H]. Rows are independent of their number as linear()'s are.
HEADWAY_API Tensor linear_heads(const Tensor& x, const std::vector<Tensor>& weights,
                                const std::vector<Tensor>& biases, bool sliced_input = false);

/// C = A·B over the last two dimensions, leading dimensions broadcast. a [..., M, K], b [..., K, N] -> [...,
/// M, N].
HEADWAY_API Tensor matmul(const Tensor& a, const Tensor& b);

}  // namespace headway::inline v1
