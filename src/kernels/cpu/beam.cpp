#include <headway/kernels/beam.h>

#include <cmath>
#include <limits>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/beam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h: it must see the current target.
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Keeps value[0 … k) sorted, largest first. Equal values keep their order of arrival, which is that of the
// index.
inline void insert(float x, std::int32_t at, float* value, std::int32_t* index, std::int64_t k) {
  std::int64_t i = k - 1;
  for (; i > 0 && value[i - 1] < x; --i) {
    value[i] = value[i - 1];
    index[i] = index[i - 1];
  }
  value[i] = x;
  index[i] = at;
}

// In a row of random logits only about k·ln(V/k) elements ever exceed the k-th largest so far: one comparison
// decides for two vectors at once, and most pairs are passed over.
void top_k(const float* x, std::int64_t count, float* value, std::int32_t* index, std::int64_t k) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < k; ++i) {
    value[i] = -std::numeric_limits<float>::infinity();
    // What stays unfilled (nothing but -inf or NaN in the row) still names an element.
    index[i] = static_cast<std::int32_t>(i);
  }
  const auto scan = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (x[i] > value[k - 1]) insert(x[i], static_cast<std::int32_t>(i), value, index, k);
    }
  };
  std::int64_t j = 0;
  for (; j + 2 * lanes <= count; j += 2 * lanes) {
    const auto threshold = hn::Set(d, value[k - 1]);
    const auto over =
        hn::Or(hn::Gt(hn::LoadU(d, x + j), threshold), hn::Gt(hn::LoadU(d, x + j + lanes), threshold));
    if (!hn::AllFalse(d, over)) scan(j, j + 2 * lanes);
  }
  scan(j, count);
}

// Σ exp(x - largest), in float32 per lane: at most V/lanes positive terms of at most 1 each.
float sum_exp(const float* x, std::int64_t count, float largest) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto shift = hn::Set(d, largest);
  auto a = hn::Zero(d), b = hn::Zero(d);
  std::int64_t j = 0;
  for (; j + 2 * lanes <= count; j += 2 * lanes) {
    a = hn::Add(a, hn::Exp(d, hn::Sub(hn::LoadU(d, x + j), shift)));
    b = hn::Add(b, hn::Exp(d, hn::Sub(hn::LoadU(d, x + j + lanes), shift)));
  }
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
  for (; j < count; ++j) total += std::exp(x[j] - largest);
  return total;
}

void top_row(const float* x, std::int64_t count, float* value, std::int32_t* index, std::int64_t k) {
  top_k(x, count, value, index, k);
  const float largest = value[0];
  if (largest == -std::numeric_limits<float>::infinity()) return;
  const float normalizer = largest + std::log(sum_exp(x, count, largest));
  for (std::int64_t i = 0; i < k; ++i) value[i] -= normalizer;
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(top_row);
// A row of 8,000 takes some microseconds: several of them pay for handing a unit to a thread.
constexpr std::int64_t kRows = 8;
}  // namespace

void top_log_probabilities(const TopLogProbabilities& work) {
  core::parallel_ranges(work.rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      HWY_DYNAMIC_DISPATCH(top_row)
      (work.logits + r * work.stride, work.vocabulary, work.log_probability + r * work.k,
       work.index + r * work.k, work.k);
    }
  });
}

}  // namespace headway::inline v1::kernels
#endif
