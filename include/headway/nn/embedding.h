#pragma once
#include <headway/nn/module.h>
#include <headway/ops/embedding.h>

namespace headway::inline v1::nn {

struct EmbeddingLayerOptions {
  std::int64_t vocabulary = 0;  ///< V
  std::int64_t width = 0;       ///< C
  bool scaled = true;  ///< rows times sqrt(C) (Vaswani 2017, section 3.4): unit variance at the start
  DType output = DType::float32;  ///< of the activations: float32 or bfloat16; the table stays float32
};

/// Rows for tokens. The table starts normal with deviation C^-½, so that it also serves, tied, as output
/// projection.
class HEADWAY_API Embedding : public Module {
 public:
  Embedding(const EmbeddingLayerOptions& options, Generator& generator);
  /// ids [...] int32 -> [..., C]. With `positions` [P, C], row position_ids[i] of it is added to row i.
  Tensor operator()(const Tensor& ids, const Tensor& positions = {}, const Tensor& position_ids = {}) const;
  const Tensor& weight() const { return weight_; }  ///< [V, C]
  const EmbeddingLayerOptions& options() const { return options_; }

 private:
  EmbeddingLayerOptions options_;
  Tensor weight_;
};

}  // namespace headway::inline v1::nn
