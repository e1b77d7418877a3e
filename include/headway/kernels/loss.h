#pragma once
#include <cstdint>

#include <headway/core/export.h>
#include <headway/kernels/precision.h>

/// Cross-entropy straight from logits [rows, classes]. With lse = log Σ exp(logits) and smoothing ε, a row's
/// loss is
///   (1 - ε)·(lse - logits[t]) + ε·(lse - mean(logits)),
/// whose gradient in logits[j] is p_j - (1 - ε)·[j = t] - ε/classes, p = exp(logits - lse).
namespace headway::inline v1::kernels {

template <typename T>
struct CrossEntropy {
  std::int64_t rows = 0, classes = 0;
  const T* logits = nullptr;
  const std::int32_t* targets = nullptr;
  std::int32_t ignore_index = -1;  ///< rows with this target give 0 and get gradients of 0
  double smoothing = 0;
};
/// lse [rows] is kept for the backward pass, losses [rows] are each row's loss.
template <typename T>
void cross_entropy_forward(const CrossEntropy<T>& args, compute_t<T>* lse, double* losses);
/// d_logits = factor · gradient.
template <typename T>
void cross_entropy_backward(const CrossEntropy<T>& args, const compute_t<T>* lse, double factor, T* d_logits);

/// log p(target) and whether the target is the first largest logit of its row.
template <typename T>
void token_scores(const CrossEntropy<T>& args, float* log_probability, bool* correct);

}  // namespace headway::inline v1::kernels
