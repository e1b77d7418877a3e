#pragma once
#include <cstdint>
#include <string>
#include <vector>

/// The forward kernel's versions that mattered, and those that failed, each as small as it can be: float32,
/// no mask, one thread, D = 64. What they taught stands in README.md.
namespace headway::bench::lab {

constexpr std::int64_t kDim = 64;

/// Rows [T][H][D], as a projection leaves them.
struct Problem {
  std::int64_t length, heads;
  const float *q, *k, *v;
  float* o;
  std::int64_t row() const { return heads * kDim; }
};

struct Version {
  std::string name, what;
  void (*run)(const Problem&);
};

std::vector<Version> plain_versions();
std::vector<Version> tiled_versions();

}  // namespace headway::bench::lab
