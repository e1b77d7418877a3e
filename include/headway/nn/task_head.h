#pragma once
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <headway/nn/linear.h>
#include <headway/nn/norm.h>

namespace headway::inline v1::nn {

/// What an output head says of a sequence.
enum class HeadKind {
  none,
  classes,  ///< scores of K classes for the whole sequence
  tokens,   ///< scores of K classes for each token
  spans,    ///< scores of each token as a span's first and last: K = 2
  masked    ///< scores of the vocabulary for each token (Devlin et al. 2019, "masked language model")
};

/// Elementwise functions between the products of a head.
enum class HeadActivation { none, tanh, relu, gelu, gelu_tanh, silu, quick_gelu, relu2 };

struct TaskHeadOptions {
  HeadKind kind = HeadKind::none;
  std::int64_t width = 0;        ///< of what it reads
  std::int64_t outputs = 0;      ///< K
  bool dense = false;            ///< a product of its own, with bias, activation and norm, before the scores
  std::int64_t dense_width = 0;  ///< of that product; 0: width
  bool dense_bias = true;
  HeadActivation activation = HeadActivation::none;
  std::optional<NormLayerOptions> norm = {};
  bool bias = true;   ///< of the scores
  bool tied = false;  ///< the scores' matrix is handed to each call: an embedding table
};

/// norm(activation(W₁x + b₁)), where asked for, then W₂x + b₂. Parameters: dense, norm, output.
class HEADWAY_API TaskHead : public Module {
 public:
  TaskHead(const TaskHeadOptions& options, Generator& generator);
  /// x [M, width] -> [M, outputs] float32. `tied` is [outputs, dense_width].
  Tensor operator()(const Tensor& x, const Tensor& tied = {}) const;
  const TaskHeadOptions& options() const { return options_; }

 private:
  TaskHeadOptions options_;
  std::unique_ptr<Linear> dense_;
  std::unique_ptr<Norm> norm_;
  Tensor weight_, bias_;
};

/// One vector for each sequence of packed rows.
enum class Pooling {
  cls,   ///< its first row
  mean,  ///< the mean of its rows
  last   ///< its last row
};
/// hidden [N, C] and offsets [B+1] -> [B, C]. Error(value) for a sequence without rows.
HEADWAY_API Tensor pool(const Tensor& hidden, const std::vector<std::int64_t>& offsets, Pooling pooling);
/// The function itself.
HEADWAY_API Tensor activate(const Tensor& x, HeadActivation activation);

}  // namespace headway::inline v1::nn
