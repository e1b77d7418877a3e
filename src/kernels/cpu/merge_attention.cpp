// Partial results of attention, joined: memory-bound, each output read once.
#include <headway/kernels/merge_attention.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/merge_attention.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// The parts that have seen something in one row, with their weights. They sum to 1 up to rounding, which
// exp(L_i - L) would not where L is large.
struct LiveParts {
  std::vector<std::size_t> index;
  std::vector<float> weight, slope;  // w_i; c_i
  float lse = 0;

  template <typename T>
  void find(std::span<const AttentionPart<T>> parts, std::int64_t row) {
    constexpr float kEmpty = -std::numeric_limits<float>::infinity();
    index.clear();
    weight.clear();
    lse = kEmpty;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const float value = parts[i].lse[row];
      if (value == kEmpty) continue;
      index.push_back(i);
      if (std::isnan(value) || value > lse) lse = value;
    }
    float sum = 0;
    for (const std::size_t i : index) {
      weight.push_back(std::exp(parts[i].lse[row] - lse));
      sum += weight.back();
    }
    for (float& w : weight) w /= sum;
    if (!index.empty()) lse += std::log(sum);
  }
};

// Row r of the outputs, in the order [B, T, H], has its log-sum-exp at [b, h, t].
template <typename T>
HWY_INLINE std::int64_t lse_at(const MergeForward<T>& a, std::int64_t r) {
  const std::int64_t h = r % a.heads, t = r / a.heads % a.queries, b = r / a.heads / a.queries;
  return (b * a.heads + h) * a.queries + t;
}

template <typename T>
void merge_rows(const MergeForward<T>& a, std::int64_t begin, std::int64_t end) {
  const F32 d;
  LiveParts live;
  for (std::int64_t r = begin; r < end; ++r) {
    const std::int64_t row = lse_at(a, r), at = r * a.value_dim;
    live.find(a.parts, row);
    a.lse[row] = live.lse;
    for_vectors(a.value_dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
      VF sum = hn::Zero(d);
      for (std::size_t n = 0; n < live.index.size(); ++n) {
        const VF value = load(d, a.parts[live.index[n]].o + at + i, part);
        sum = hn::MulAdd(hn::Set(d, live.weight[n]), value, sum);
      }
      store(d, sum, a.o + at + i, part);
    });
  }
}

template <typename T>
void merge_backward_rows(const MergeBackward<T>& g, std::int64_t begin, std::int64_t end) {
  const F32 d;
  const MergeForward<T>& a = g.forward;
  LiveParts live;
  for (std::int64_t r = begin; r < end; ++r) {
    const std::int64_t row = lse_at(a, r), at = r * a.value_dim;
    live.find(a.parts, row);
    for (const auto& grad : g.grads) {  // of the empty ones it stays 0
      if (grad.d_o) std::fill_n(grad.d_o + at, a.value_dim, T(0.f));
      if (grad.d_lse) grad.d_lse[row] = 0;
    }
    float mean = 0;
    live.slope.clear();
    for (std::size_t n = 0; n < live.index.size(); ++n) {
      VF sum = hn::Zero(d);
      const T* o = a.parts[live.index[n]].o + at;
      for_vectors(g.d_o ? a.value_dim : 0, [&](std::int64_t i, auto part) HEADWAY_BODY {
        sum = hn::MulAdd(load(d, g.d_o + at + i, part), load(d, o + i, part), sum);
      });
      live.slope.push_back(total(sum));
      mean += live.weight[n] * live.slope[n];
    }
    for (std::size_t n = 0; n < live.index.size(); ++n) {
      const AttentionPartGrad<T>& grad = g.grads[live.index[n]];
      const VF weight = hn::Set(d, live.weight[n]);
      for_vectors(g.d_o && grad.d_o ? a.value_dim : 0, [&](std::int64_t i, auto part) HEADWAY_BODY {
        store(d, hn::Mul(weight, load(d, g.d_o + at + i, part)), grad.d_o + at + i, part);
      });
      if (!grad.d_lse) continue;
      grad.d_lse[row] = live.weight[n] * (live.slope[n] - mean + (g.d_lse ? g.d_lse[row] : 0));
    }
  }
}

#define HEADWAY_FOR(T, SUFFIX)                                                                    \
  void merge_##SUFFIX(const MergeForward<T>& a, std::int64_t begin, std::int64_t end) {           \
    merge_rows(a, begin, end);                                                                    \
  }                                                                                               \
  void merge_backward_##SUFFIX(const MergeBackward<T>& a, std::int64_t begin, std::int64_t end) { \
    merge_backward_rows(a, begin, end);                                                           \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
// Rows in a unit of work: some 8192 elements.
template <typename T>
std::int64_t row_grain(const MergeForward<T>& a) {
  const std::int64_t width = a.value_dim * static_cast<std::int64_t>(a.parts.size());
  return std::max<std::int64_t>(1, (1 << 13) / std::max<std::int64_t>(1, width));
}
}  // namespace

#define HEADWAY_FOR(T, SUFFIX)                                                            \
  HWY_EXPORT(merge_##SUFFIX);                                                             \
  HWY_EXPORT(merge_backward_##SUFFIX);                                                    \
  template <>                                                                             \
  void merge_attention(const MergeForward<T>& a) {                                        \
    core::parallel_ranges(a.batch* a.queries* a.heads, row_grain(a),                      \
                          [&](std::int64_t begin, std::int64_t end) {                     \
                            HWY_DYNAMIC_DISPATCH(merge_##SUFFIX)(a, begin, end);          \
                          });                                                             \
  }                                                                                       \
  template <>                                                                             \
  void merge_attention_backward(const MergeBackward<T>& g) {                              \
    const MergeForward<T>& a = g.forward;                                                 \
    core::parallel_ranges(a.batch* a.queries* a.heads, row_grain(a),                      \
                          [&](std::int64_t begin, std::int64_t end) {                     \
                            HWY_DYNAMIC_DISPATCH(merge_backward_##SUFFIX)(g, begin, end); \
                          });                                                             \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
#endif
