#pragma once
#include <memory>
#include <optional>

#include <headway/nn/linear.h>

namespace headway::inline v1::nn {

enum class FeedForwardKind {
  relu,        ///< W₂·relu(W₁x + b₁) + b₂ (Vaswani 2017, eq. 2)
  gelu,        ///< the same with GELU
  swiglu,      ///< W₂·(silu(W₃x) ∘ W₁x), usually without biases (Shazeer 2020, "GLU variants improve
               ///< Transformer")
  gelu_tanh,   ///< as gelu, by tanh (Hendrycks & Gimpel 2016, section 2): GPT-2
  silu,        ///< as relu, with x·sigmoid(x)
  geglu,       ///< as swiglu, with GELU: ModernBERT
  geglu_tanh,  ///< as swiglu, with GELU by tanh: T5 1.1, Gemma
  reglu,       ///< as swiglu, with relu
  quick_gelu,  ///< as relu, with x·sigmoid(1.702x) (Hendrycks & Gimpel 2016, section 2)
  quick_geglu,  ///< as swiglu, with the same
  relu2,        ///< as relu, with its square (So et al. 2021, "Primer")
  reglu2        ///< as swiglu, with the same
};
/// Whether a kind multiplies two projections of its input.
HEADWAY_API bool is_gated(FeedForwardKind kind);

struct FeedForwardOptions {
  std::int64_t model_dim = 0;  ///< C
  std::int64_t hidden = 0;     ///< width between the two products
  FeedForwardKind kind = FeedForwardKind::relu;
  double dropout = 0;             ///< of the hidden activations; the paper has none here
  std::optional<bool> bias = {};  ///< of all its products; by the kind unless given: gated ones have none
};

/// The position-wise network of a block, x [..., C] -> [..., C]. Parameters: up, (gate,) down.
class HEADWAY_API FeedForward : public Module {
 public:
  FeedForward(const FeedForwardOptions& options, Generator& generator);
  Tensor operator()(const Tensor& x) const;
  const FeedForwardOptions& options() const { return options_; }

 private:
  FeedForwardOptions options_;
  std::unique_ptr<Linear> up_, gate_, down_;
};

}  // namespace headway::inline v1::nn
