#include <headway/kernels/dropout.h>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/philox-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

template <typename T>
void dropout_range(const Dropout& dropout, const T* x, T* y, std::int64_t begin, std::int64_t end) {
  const F32 d;
  Decisions decisions(dropout);
  for (std::int64_t at = begin; at < end; at += kDropoutChunk) {
    const std::int64_t count = std::min(kDropoutChunk, end - at);
    decisions.draw_from(at, count);
    for_vectors(count, [&](std::int64_t i, auto part) HEADWAY_BODY {
      store(d, decisions.apply(load(d, x + at + i, part), i), y + at + i, part);
    });
  }
}

void dropout_f32(const Dropout& dropout, const float* x, float* y, std::int64_t begin, std::int64_t end) {
  dropout_range(dropout, x, y, begin, end);
}
void dropout_bf16(const Dropout& dropout, const bfloat16* x, bfloat16* y, std::int64_t begin,
                  std::int64_t end) {
  dropout_range(dropout, x, y, begin, end);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
HWY_EXPORT(dropout_f32);
HWY_EXPORT(dropout_bf16);

namespace {
constexpr std::int64_t kGrain = 1 << 14;  // a multiple of 8: no call of Philox is drawn twice
}

template <>
void dropout(const Dropout& dropout, const float* x, float* y, std::int64_t count) {
  core::parallel_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_f32)(dropout, x, y, begin, end);
  });
}
template <>
void dropout(const Dropout& dropout, const bfloat16* x, bfloat16* y, std::int64_t count) {
  core::parallel_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_bf16)(dropout, x, y, begin, end);
  });
}

}  // namespace headway::inline v1::kernels
#endif
