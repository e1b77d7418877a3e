#pragma once
#include <headway/nn/module.h>
#include <headway/ops/norm.h>

namespace headway::inline v1::nn {

enum class NormKind {
  layer,  ///< Ba et al. 2016: mean removed, divided by the deviation, scaled, shifted
  rms     ///< Zhang & Sennrich 2019: divided by the root of the mean square, scaled
};

struct NormLayerOptions {
  std::int64_t width = 0;  ///< C
  NormKind kind = NormKind::layer;
  double eps = 1e-5;
  bool bias = true;          ///< of a layer norm; an RMS norm has none
  bool unit_offset = false;  ///< the learned scale is 1 + weight, and weight starts as 0 (Gemma)
};

/// Normalization of the last dimension with learned scale (and shift, for `layer`), starting as 1 (and 0).
class HEADWAY_API Norm : public Module {
 public:
  explicit Norm(const NormLayerOptions& options);
  /// `how.residual` and `how.dropout` are fused into the same pass; eps is this layer's own.
  NormResult operator()(const Tensor& x, NormOptions how = {}) const;
  const NormLayerOptions& options() const { return options_; }

 private:
  NormLayerOptions options_;
  Tensor weight_, bias_, one_;
};

class HEADWAY_API LayerNorm : public Norm {
 public:
  explicit LayerNorm(std::int64_t width) : Norm({.width = width, .kind = NormKind::layer}) {}
};

class HEADWAY_API RMSNorm : public Norm {
 public:
  explicit RMSNorm(std::int64_t width) : Norm({.width = width, .kind = NormKind::rms}) {}
};

}  // namespace headway::inline v1::nn
