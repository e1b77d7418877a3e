#include <headway/attention/rope_scaling.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include <headway/core/error.h>

namespace headway::inline v1 {
namespace {

void positive(const char* operation, const char* name, double value) {
  if (std::isfinite(value) && value > 0) return;
  fail(ErrorCode::value, operation, fmt::format("{} is {}; want a positive number", name, value));
}

RopeOptions with(double base, std::vector<double> frequencies, double factor = 1) {
  RopeOptions rope{.base = base};
  rope.dims = 2 * static_cast<std::int64_t>(frequencies.size());
  rope.inverse_frequencies = std::move(frequencies);
  rope.factor = factor;
  return rope;
}

}  // namespace

std::vector<double> rope_frequencies(double base, std::int64_t dims) {
  positive("rope_frequencies", "base", base);
  if (dims < 2 || dims % 2 != 0) {
    fail(ErrorCode::value, "rope_frequencies",
         fmt::format("dims is {}; want an even number of columns, at least 2", dims));
  }
  std::vector<double> out;
  for (std::int64_t m = 0; m < dims / 2; ++m)
    out.push_back(std::pow(base, -2 * static_cast<double>(m) / static_cast<double>(dims)));
  return out;
}

RopeOptions rope_linear(double base, std::int64_t dims, double factor) {
  positive("rope_linear", "factor", factor);
  std::vector<double> frequencies = rope_frequencies(base, dims);
  for (double& frequency : frequencies) frequency /= factor;
  return with(base, std::move(frequencies));
}

RopeOptions rope_yarn(double base, std::int64_t dims, const YarnOptions& o) {
  positive("rope_yarn", "factor", o.factor);
  positive("rope_yarn", "original_length", static_cast<double>(o.original_length));
  positive("rope_yarn", "beta_fast", o.beta_fast);
  positive("rope_yarn", "beta_slow", o.beta_slow);
  std::vector<double> frequencies = rope_frequencies(base, dims);
  // The pair that makes `rotations` over the original length.
  const auto pair_of = [&](double rotations) {
    return static_cast<double>(dims) *
           std::log(static_cast<double>(o.original_length) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(base));
  };
  double low = pair_of(o.beta_fast), high = pair_of(o.beta_slow);
  if (o.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dims - 1));
  if (low == high) high += 0.001;
  for (std::size_t m = 0; m < frequencies.size(); ++m) {
    const double stretched = std::clamp((static_cast<double>(m) - low) / (high - low), 0.0, 1.0);
    frequencies[m] *= stretched / o.factor + (1 - stretched);
  }
  const double usual = o.factor <= 1 ? 1 : 0.1 * std::log(o.factor) + 1;
  return with(base, std::move(frequencies), o.attention_factor.value_or(usual));
}

RopeOptions rope_llama3(double base, std::int64_t dims, const Llama3RopeOptions& o) {
  positive("rope_llama3", "factor", o.factor);
  positive("rope_llama3", "low_frequency_factor", o.low_frequency_factor);
  positive("rope_llama3", "original_length", static_cast<double>(o.original_length));
  if (!(o.high_frequency_factor > o.low_frequency_factor)) {
    fail(ErrorCode::value, "rope_llama3",
         fmt::format("high_frequency_factor is {}; want more than low_frequency_factor = {}",
                     o.high_frequency_factor, o.low_frequency_factor));
  }
  std::vector<double> frequencies = rope_frequencies(base, dims);
  const auto length = static_cast<double>(o.original_length);
  for (double& frequency : frequencies) {
    const double rotations = length * frequency / (2 * std::numbers::pi);  // over the original length
    const double kept = std::clamp(
        (rotations - o.low_frequency_factor) / (o.high_frequency_factor - o.low_frequency_factor), 0.0, 1.0);
    frequency *= kept + (1 - kept) / o.factor;
  }
  return with(base, std::move(frequencies));
}

}  // namespace headway::inline v1
