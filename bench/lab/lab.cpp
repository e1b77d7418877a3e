// Verifies and times the versions of the forward kernel, and the library's beside them: lab [length] [heads]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>

#include <headway/core/parallel.h>

#include "attention/case.h"
#include "lab/versions.h"
#include "support/ceiling.h"

namespace headway::bench::lab {
namespace {

double seconds(const Version& version, const Problem& p) {
  const auto begin = std::chrono::steady_clock::now();
  version.run(p);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::vector<float> drawn(std::int64_t count, std::uint32_t seed) {
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& x : out) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(seed >> 8) * (4.f / (1 << 24)) - 2.f;
  }
  return out;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double square = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    square += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(square / norm);
}

void run(std::int64_t length, std::int64_t heads) {
  const std::int64_t count = length * heads * kDim;
  const std::vector<float> q = drawn(count, 1), k = drawn(count, 2), v = drawn(count, 3);
  std::vector<float> o(q.size()), wanted(q.size());
  const Problem p{length, heads, q.data(), k.data(), v.data(), o.data()};
  std::vector<Version> versions = plain_versions();
  for (Version& version : tiled_versions()) versions.push_back(std::move(version));
  const auto library = [](const Problem& of) {
    static Case work(
        {.heads = of.heads, .kv_heads = of.heads, .queries = of.length, .keys = of.length, .dim = kDim});
    work.forward();
  };
  versions.push_back({"L", "the library", library});

  std::vector<std::vector<double>> times(versions.size());
  for (std::size_t n = 0; n < versions.size(); ++n) {
    versions[n].run(p);
    if (n == 0) wanted = o;
    const double error = distance(o, wanted);
    if (!(error < 1e-5))
      throw std::runtime_error(fmt::format("version {} is wrong: {}", versions[n].name, error));
  }
  for (int round = 0; round < 9; ++round) {
    for (std::size_t n = 0; n < versions.size(); ++n) {
      if (n < 2 && round > 0) continue;  // seconds each
      times[n].push_back(seconds(versions[n], p));
    }
  }
  const double ceiling = fma_ceiling(1);
  fmt::print(
      "T = {}, H = {}, D = {}; ceiling {:.1f} GFLOP/s\n\n| version | | GFLOP/s | share |\n| --- | --- | --- "
      "| --- |\n",
      length, heads, kDim, ceiling);
  for (std::size_t n = 0; n < versions.size(); ++n) {
    std::nth_element(times[n].begin(), times[n].begin() + static_cast<std::ptrdiff_t>(times[n].size() / 2),
                     times[n].end());
    const double rate =
        4.0 * static_cast<double>(count) * static_cast<double>(length) / times[n][times[n].size() / 2] / 1e9;
    fmt::print("| {} | {} | {:.1f} | {:.0f} % |\n", versions[n].name, versions[n].what, rate,
               100 * rate / ceiling);
  }
}

}  // namespace
}  // namespace headway::bench::lab

int main(int argc, char** argv) {
  headway::set_threads(1);
  headway::bench::lab::run(argc > 1 ? std::atoll(argv[1]) : 2048, argc > 2 ? std::atoll(argv[2]) : 8);
}
