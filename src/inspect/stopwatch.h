#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace headway::inline v1::inspect {

/// Collects the durations of repeated runs.
class Stopwatch {
 public:
  template <typename Body>
  void time(Body&& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    seconds_.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  double median() const { return quantile(0.5); }
  /// Half the distance of the quartiles, as a share of the median.
  double spread() const { return median() > 0 ? (quantile(0.75) - quantile(0.25)) / 2 / median() : 0; }

 private:
  // Between the two nearest, linearly.
  double quantile(double share) const {
    if (seconds_.empty()) return 0;
    std::vector<double> sorted = seconds_;
    std::sort(sorted.begin(), sorted.end());
    const double place = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
  }

  std::vector<double> seconds_;
};

}  // namespace headway::inline v1::inspect
