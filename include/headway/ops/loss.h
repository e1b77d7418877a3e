#pragma once
#include <headway/core/tensor.h>

namespace headway::inline v1 {

struct CrossEntropyOptions {
  double label_smoothing = 0;  ///< mass spread evenly over the vocabulary (Szegedy 2016; Vaswani 2017, 5.4)
  std::int32_t ignore_index = -1;  ///< targets with this value count for nothing
  double divisor = 0;              ///< the sum is divided by it; 0: by the number of targets that count
};

/// Mean cross-entropy of softmax(logits) against targets. logits [N, V] float32, bfloat16 or float64, targets
/// [N] int32
/// -> scalar (rank 0) of float32 (float64 for float64). No [N, V] array beside the logits and, in the
/// backward pass, their gradient. A target outside [0, V) is an Error(value).
HEADWAY_API Tensor cross_entropy(const Tensor& logits, const Tensor& targets,
                                 const CrossEntropyOptions& options = {});

struct TokenScores {
  Tensor log_probability;  ///< [N] float32: log p(target)
  Tensor correct;          ///< [N] bool: the target is the most probable token
};
/// Evaluation's view of the same: per-token log-probabilities without smoothing. Not differentiable.
HEADWAY_API TokenScores token_scores(const Tensor& logits, const Tensor& targets);

}  // namespace headway::inline v1
