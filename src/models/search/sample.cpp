#include "models/search/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace headway::inline v1::models {
namespace {

// Enough for the nucleus of nearly every step of a trained model; a flatter one sorts the whole vocabulary.
constexpr std::int64_t kNucleus = 64;

/// The first of `weights` at which their running sum exceeds `target`; the last one at the latest, since
/// rounding may leave the sum short.
std::size_t reach(const std::vector<double>& weights, double target) {
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum > target) return i;
  }
  return weights.size() - 1;
}

/// exp((x - largest)/temperature) of all tokens, in their order.
std::vector<double> weights_of_all(const SampleRow& row, const Sampling& how, float largest) {
  std::vector<double> weights(static_cast<std::size_t>(row.vocabulary));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] =
        std::exp((static_cast<double>(row.logits[i]) - static_cast<double>(largest)) / how.temperature);
  }
  return weights;
}

/// Keeps the fewest leading weights that hold the share `top_p` of `total`, and draws among them. False when
/// even all of them hold less.
bool draw_from_nucleus(std::vector<double>& weights, double total, double top_p, double u, std::size_t& out) {
  double sum = 0;
  std::size_t kept = 0;
  while (kept < weights.size() && (kept == 0 || sum < top_p * total)) sum += weights[kept++];
  if (sum < top_p * total) return false;
  weights.resize(kept);
  out = reach(weights, u * sum);
  return true;
}

}  // namespace

double uniform_of(const std::array<std::uint32_t, 4>& words) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

std::int64_t wanted_best(const Sampling& how, std::int64_t vocabulary) {
  if (how.top_k > 0) return std::min(how.top_k, vocabulary);
  return std::min(how.top_p < 1 ? kNucleus : std::int64_t{1}, vocabulary);
}

Sample draw(const SampleRow& row, const Sampling& how, double u) {
  const float largest = row.logits[row.token[0]];
  const double normalizer = static_cast<double>(largest) - static_cast<double>(row.best[0]);
  const auto result = [&](std::int32_t token) {
    return Sample{token, static_cast<double>(row.logits[token]) - normalizer};
  };
  std::size_t at = 0;
  if (how.top_k == 0 && how.top_p >= 1) {
    const std::vector<double> weights = weights_of_all(row, how, largest);
    at = reach(weights, u * std::accumulate(weights.begin(), weights.end(), 0.0));
    return result(static_cast<std::int32_t>(at));
  }
  std::vector<double> leading(static_cast<std::size_t>(row.k));
  for (std::size_t i = 0; i < leading.size(); ++i) {
    leading[i] =
        std::exp((static_cast<double>(row.best[i]) - static_cast<double>(row.best[0])) / how.temperature);
  }
  if (how.top_k > 0) {
    const double total = std::accumulate(leading.begin(), leading.end(), 0.0);
    // Rounding may leave the sum of all just under a share of 1 of itself; then all are kept.
    if (!draw_from_nucleus(leading, total, how.top_p, u, at)) at = reach(leading, u * total);
    return result(row.token[at]);
  }
  const std::vector<double> all = weights_of_all(row, how, largest);
  const double total = std::accumulate(all.begin(), all.end(), 0.0);
  if (draw_from_nucleus(leading, total, how.top_p, u, at)) return result(row.token[at]);
  std::vector<std::int32_t> order(all.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return all[static_cast<std::size_t>(a)] > all[static_cast<std::size_t>(b)];
  });
  std::vector<double> sorted;
  for (const std::int32_t token : order) sorted.push_back(all[static_cast<std::size_t>(token)]);
  if (!draw_from_nucleus(sorted, total, how.top_p, u, at)) at = reach(sorted, u * total);
  return result(order[at]);
}

}  // namespace headway::inline v1::models
