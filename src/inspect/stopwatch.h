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
  double median() const {
    if (seconds_.empty()) return 0;
    std::vector<double> sorted = seconds_;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
  double total() const {
    double sum = 0;
    for (const double second : seconds_) sum += second;
    return sum;
  }

 private:
  std::vector<double> seconds_;
};

}  // namespace headway::inline v1::inspect
