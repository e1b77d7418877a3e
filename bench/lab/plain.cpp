// Versions without tiles.
#include <algorithm>
#include <cmath>
#include <vector>

#include <hwy/highway.h>

#include "lab/versions.h"

namespace headway::bench::lab {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;

// A row of scores for each query: score(q, k), and add(weight, v, o) for o += weight·v.
template <class Score, class Add>
void row_by_row(const Problem& p, const Score& score, const Add& add) {
  std::vector<float> weights(static_cast<std::size_t>(p.length));
  const float scale = 1.f / std::sqrt(static_cast<float>(kDim));
  for (std::int64_t h = 0; h < p.heads; ++h) {
    for (std::int64_t i = 0; i < p.length; ++i) {
      const float* q = p.q + i * p.row() + h * kDim;
      float* o = p.o + i * p.row() + h * kDim;
      float largest = -INFINITY, total = 0;
      for (std::int64_t j = 0; j < p.length; ++j) {
        const float x = score(q, p.k + j * p.row() + h * kDim) * scale;
        weights[static_cast<std::size_t>(j)] = x;
        largest = std::max(largest, x);
      }
      std::fill(o, o + kDim, 0.f);
      for (std::int64_t j = 0; j < p.length; ++j) {
        const float weight = std::exp(weights[static_cast<std::size_t>(j)] - largest);
        total += weight;
        add(weight, p.v + j * p.row() + h * kDim, o);
      }
      for (std::int64_t d = 0; d < kDim; ++d) o[d] /= total;
    }
  }
}

// The formula, as one writes it down.
void textbook(const Problem& p) {
  row_by_row(
      p,
      [](const float* q, const float* k) {
        float sum = 0;
        for (std::int64_t d = 0; d < kDim; ++d) sum += q[d] * k[d];
        return sum;
      },
      [](float weight, const float* v, float* o) {
        for (std::int64_t d = 0; d < kDim; ++d) o[d] += weight * v[d];
      });
}

// Vectors along the head dimension: every score ends in a sum over lanes.
void vectors_along_dim(const Problem& p) {
  const FloatTag f;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(f));
  row_by_row(
      p,
      [&](const float* q, const float* k) {
        auto sum = hn::Zero(f);
        for (std::int64_t d = 0; d < kDim; d += lanes)
          sum = hn::MulAdd(hn::LoadU(f, q + d), hn::LoadU(f, k + d), sum);
        return hn::GetLane(hn::SumOfLanes(f, sum));
      },
      [&](float weight, const float* v, float* o) {
        for (std::int64_t d = 0; d < kDim; d += lanes)
          hn::StoreU(hn::MulAdd(hn::Set(f, weight), hn::LoadU(f, v + d), hn::LoadU(f, o + d)), f, o + d);
      });
}

}  // namespace

std::vector<Version> plain_versions() {
  return {{"1", "the formula, as one writes it down", textbook},
          {"2", "vectors along the head dimension", vectors_along_dim}};
}

}  // namespace headway::bench::lab
