// Versions without tiles: a row of scores for each query.
#include <algorithm>
#include <cmath>
#include <vector>

#include <hwy/highway.h>

#include "lab/versions.h"

namespace headway::bench::lab {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;

// The formula, as one writes it down.
void textbook(const Problem& p) {
  std::vector<float> weights(static_cast<std::size_t>(p.length));
  const float scale = 1.f / std::sqrt(static_cast<float>(kDim));
  for (std::int64_t h = 0; h < p.heads; ++h) {
    for (std::int64_t i = 0; i < p.length; ++i) {
      const float* q = p.q + i * p.row() + h * kDim;
      float* o = p.o + i * p.row() + h * kDim;
      float largest = -INFINITY, total = 0;
      for (std::int64_t j = 0; j < p.length; ++j) {
        const float* k = p.k + j * p.row() + h * kDim;
        float score = 0;
        for (std::int64_t d = 0; d < kDim; ++d) score += q[d] * k[d];
        weights[static_cast<std::size_t>(j)] = score * scale;
        largest = std::max(largest, score * scale);
      }
      std::fill(o, o + kDim, 0.f);
      for (std::int64_t j = 0; j < p.length; ++j) {
        const float weight = std::exp(weights[static_cast<std::size_t>(j)] - largest);
        const float* v = p.v + j * p.row() + h * kDim;
        total += weight;
        for (std::int64_t d = 0; d < kDim; ++d) o[d] += weight * v[d];
      }
      for (std::int64_t d = 0; d < kDim; ++d) o[d] /= total;
    }
  }
}

// Vectors along the head dimension: every score ends in a sum over lanes.
void vectors_along_dim(const Problem& p) {
  const FloatTag f;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(f));
  std::vector<float> weights(static_cast<std::size_t>(p.length));
  const float scale = 1.f / std::sqrt(static_cast<float>(kDim));
  for (std::int64_t h = 0; h < p.heads; ++h) {
    for (std::int64_t i = 0; i < p.length; ++i) {
      const float* q = p.q + i * p.row() + h * kDim;
      float* o = p.o + i * p.row() + h * kDim;
      float largest = -INFINITY, total = 0;
      for (std::int64_t j = 0; j < p.length; ++j) {
        const float* k = p.k + j * p.row() + h * kDim;
        auto sum = hn::Zero(f);
        for (std::int64_t d = 0; d < kDim; d += lanes)
          sum = hn::MulAdd(hn::LoadU(f, q + d), hn::LoadU(f, k + d), sum);
        const float score = hn::GetLane(hn::SumOfLanes(f, sum)) * scale;
        weights[static_cast<std::size_t>(j)] = score;
        largest = std::max(largest, score);
      }
      std::fill(o, o + kDim, 0.f);
      for (std::int64_t j = 0; j < p.length; ++j) {
        const float weight = std::exp(weights[static_cast<std::size_t>(j)] - largest);
        const float* v = p.v + j * p.row() + h * kDim;
        total += weight;
        for (std::int64_t d = 0; d < kDim; d += lanes)
          hn::StoreU(hn::MulAdd(hn::Set(f, weight), hn::LoadU(f, v + d), hn::LoadU(f, o + d)), f, o + d);
      }
      for (std::int64_t d = 0; d < kDim; ++d) o[d] /= total;
    }
  }
}

}  // namespace

std::vector<Version> plain_versions() {
  return {{"1", "the formula, as one writes it down", textbook},
          {"2", "vectors along the head dimension", vectors_along_dim}};
}

}  // namespace headway::bench::lab
