#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <headway/core/export.h>
#include <headway/core/generator.h>

namespace headway::inline v1::kernels {

/// Which elements are dropped, as a function of their linear index alone. A call of Philox gives 8 decisions
/// of 16 bits: element e takes half e % 2 (low first) of word (e % 8) / 2 of words(e / 8). It is dropped when
/// that number is below the threshold: with probability threshold / 65536, which `scale` undoes in
/// expectation exactly.
struct Dropout {
  RandomCall call;
  std::uint32_t threshold = 0;  ///< 0: nothing is dropped

  static Dropout of(double probability, const RandomCall& call) {
    if (probability <= 0) return {call, 0};
    return {call, static_cast<std::uint32_t>(std::clamp(std::lround(probability * 65536), 1L, 65535L))};
  }
  bool active() const { return threshold != 0; }
  double scale() const { return 65536.0 / (65536.0 - threshold); }
  bool keeps(std::int64_t element) const {
    const auto words = call.words(static_cast<std::uint64_t>(element / 8));
    const std::uint32_t word = words[static_cast<std::size_t>(element % 8 / 2)];
    return (element % 2 ? word >> 16 : word & 0xffffu) >= threshold;
  }
};

/// y = keep ? x·scale : 0. Its own transpose: the backward pass is the same call on dy.
template <typename T>
void dropout(const Dropout& dropout, const T* x, T* y, std::int64_t count);

}  // namespace headway::inline v1::kernels
