#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include <headway/attention/position.h>

/// Ways of making rotary positions reach further than a model was trained for. Each returns RopeOptions with
/// the inverse frequencies (and the factor) that it stands for; `dims` is the number of rotated columns,
/// even.
namespace headway::inline v1 {

/// base^(-2m/dims) for m = 0 … dims/2 - 1 (Su et al. 2021). Error(value) unless base is positive and dims
/// even.
HEADWAY_API std::vector<double> rope_frequencies(double base, std::int64_t dims);

/// All frequencies divided by `factor` (Chen et al. 2023, "Position interpolation").
HEADWAY_API RopeOptions rope_linear(double base, std::int64_t dims, double factor);

struct YarnOptions {
  double factor = 1;                     ///< how many times longer than original_length
  std::int64_t original_length = 0;      ///< what the model was trained for
  double beta_fast = 32, beta_slow = 1;  ///< rotations over the original length: more than beta_fast keep
                                         ///< their frequency, fewer than beta_slow are divided by the factor
  bool truncate = true;                  ///< round the borders between them to whole pairs
  std::optional<double> attention_factor = {};  ///< 0.1·ln(factor) + 1 unless given
};
/// YaRN (Peng et al. 2023, §3.2 and eq. 22). Error(value) for a factor or length that is not positive.
HEADWAY_API RopeOptions rope_yarn(double base, std::int64_t dims, const YarnOptions& options);

struct Llama3RopeOptions {
  double factor = 8;
  double low_frequency_factor = 1, high_frequency_factor = 4;
  std::int64_t original_length = 8192;
};
/// Llama 3.1's: wavelengths above original_length / low_frequency_factor are stretched by the factor, those
/// below original_length / high_frequency_factor stay, and between them the two are mixed (Meta,
/// "llama-models", apply_scaling). Error(value) unless everything is positive and low < high.
HEADWAY_API RopeOptions rope_llama3(double base, std::int64_t dims, const Llama3RopeOptions& options);

}  // namespace headway::inline v1
