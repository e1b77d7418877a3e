// Reductions over a row of logits. Included once per SIMD target.
#if defined(HEADWAY_KERNELS_CPU_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ROWS_INL_H_
#undef HEADWAY_KERNELS_CPU_ROWS_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ROWS_INL_H_
#endif

#include <limits>

#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// The largest element; -inf for none. Two accumulators hide the latency of max. A NaN may or may not come
// through: whoever uses the maximum meets the NaN again when summing.
template <typename T>
HWY_INLINE float row_max(const T* row, std::int64_t dim) {
  const F32 d;
  const VF lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  VF a = lowest, b = lowest;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= dim; i += 2 * lanes) {
    a = hn::Max(a, load(d, row + i, Whole{}));
    b = hn::Max(b, load(d, row + i + lanes, Whole{}));
  }
  for_vectors(dim - i, [&](std::int64_t j, auto part) HEADWAY_BODY {
    a = hn::Max(a, only(d, load(d, row + i + j, part), lowest, part));
  });
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(a, b)));
}

// Σ exp(row - shift).
template <typename T>
HWY_INLINE float row_exp_sum(const T* row, std::int64_t dim, float shift) {
  const F32 d;
  const VF center = hn::Set(d, shift);
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  VF a = hn::Zero(d), b = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= dim; i += 2 * lanes) {
    a = hn::Add(a, exp_of(hn::Sub(load(d, row + i, Whole{}), center)));
    b = hn::Add(b, exp_of(hn::Sub(load(d, row + i + lanes, Whole{}), center)));
  }
  for_vectors(dim - i, [&](std::int64_t j, auto part) HEADWAY_BODY {
    a = hn::Add(a, only(d, exp_of(hn::Sub(load(d, row + i + j, part), center)), hn::Zero(d), part));
  });
  return total(hn::Add(a, b));
}

template <typename T>
HWY_INLINE float row_sum(const T* row, std::int64_t dim) {
  const F32 d;
  VF a = hn::Zero(d);
  for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY { a = hn::Add(a, load(d, row + i, part)); });
  return total(a);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
