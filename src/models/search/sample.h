#pragma once
#include <array>
#include <cstdint>

#include <headway/models/decoding.h>

namespace headway::inline v1::models {

/// A row to draw from.
struct SampleRow {
  const float* logits = nullptr;  ///< [vocabulary]
  std::int64_t vocabulary = 0;
  const float* best = nullptr;          ///< log-probabilities of the k most probable tokens, largest first
  const std::int32_t* token = nullptr;  ///< those tokens
  std::int64_t k = 0;
};

struct Sample {
  std::int32_t token;
  double log_probability;  ///< under the model: before temperature, top-k and top-p
};

/// Draws a token with `u`, uniform in [0, 1).
Sample draw(const SampleRow& row, const Sampling& how, double u);
/// How many of the most probable tokens draw() wants to be given.
std::int64_t wanted_best(const Sampling& how, std::int64_t vocabulary);
/// 53 bits from two random words.
double uniform_of(const std::array<std::uint32_t, 4>& words);

}  // namespace headway::inline v1::models
