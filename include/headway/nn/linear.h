#pragma once
#include <headway/nn/module.h>
#include <headway/ops/linear.h>

namespace headway::inline v1::nn {

struct LinearLayerOptions {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  bool bias = true;
  Activation activation = Activation::none;  ///< fused into the product
};

/// act(x·Wᵀ + b), x [..., inputs] -> [..., outputs].
class HEADWAY_API Linear : public Module {
 public:
  /// Weights Xavier-uniform (Glorot & Bengio 2010, eq. 16), biases 0.
  Linear(const LinearLayerOptions& options, Generator& generator);
  Tensor operator()(const Tensor& x) const;
  const Tensor& weight() const { return weight_; }  ///< [outputs, inputs]
  const Tensor& bias() const { return bias_; }      ///< [outputs], or undefined
  const LinearLayerOptions& options() const { return options_; }

 private:
  LinearLayerOptions options_;
  Tensor weight_, bias_;
};

}  // namespace headway::inline v1::nn
