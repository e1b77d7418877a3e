#pragma once
#include <cstdint>

#include <headway/core/export.h>

namespace headway::inline v1::kernels {

struct TopLogProbabilities {
  const float* logits = nullptr;  ///< [rows, stride], the first V of each row
  std::int64_t rows = 0, vocabulary = 0, stride = 0;
  std::int64_t k = 0;                ///< 1 … V
  float* log_probability = nullptr;  ///< [rows, k], largest first
  std::int32_t* index = nullptr;     ///< [rows, k]; equal values: the lower index first
};

/// The k largest of x - log Σ exp(x) for each row x, without an array of log-probabilities: softmax keeps the
/// order, so the largest are picked from the logits themselves, and only k differences are taken. A row that
/// is -inf throughout gives -inf; a NaN is never picked.
HEADWAY_API void top_log_probabilities(const TopLogProbabilities& work);

}  // namespace headway::inline v1::kernels
