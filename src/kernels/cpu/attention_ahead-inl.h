// Rows of heads that are fetched before they are wanted.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_AHEAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_AHEAD_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_AHEAD_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_AHEAD_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include <hwy/cache_control.h>

#include <headway/kernels/attention.h>

#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Rows first, first + step, … of a tensor of heads.
struct RowSpan {
  std::int64_t first, count, step = 1;
};
// Part `number` of `parts` of some rows.
struct Share {
  std::int64_t number, parts;
  RowSpan of(const RowSpan& rows) const {
    const std::int64_t begin = rows.count * number / parts, end = rows.count * (number + 1) / parts;
    return {rows.first + begin * rows.step, end - begin, rows.step};
  }
};

// Rows of heads lie far apart: the hardware's own prefetching, which follows adjacent lines, does not find
// the next. Always inlined: a function that only prefetches has no effect in GCC's eyes, and its calls are
// dropped.
HWY_INLINE void prefetch_rows(DType dtype, const HeadRows& rows, const RowSpan& span, std::int64_t head,
                              std::int64_t dim) {
  constexpr std::int64_t kLine = 64;
  const auto size = static_cast<std::int64_t>(size_of(dtype));
  const auto* row = static_cast<const char*>(rows.at(dtype, span.first, head));
  for (std::int64_t r = 0; r < span.count; ++r, row += rows.row * span.step * size) {
    for (std::int64_t at = 0; at < dim * size; at += kLine) hwy::Prefetch(row + at);
  }
}

// Rows that come next, fetched share by share between the register tiles of products and the exponentials: a
// core has a few dozen lines on their way at a time, and waits when more are asked for at once.
class Ahead {
 public:
  // `shares`: how often fetch() will be called, about.
  explicit Ahead(std::int64_t shares) : shares_(std::max<std::int64_t>(shares, 1)) {}
  void add(DType dtype, const HeadRows& rows, const RowSpan& span, std::int64_t head, std::int64_t dim) {
    if (rows.data && span.count > 0) parts_[count_++] = {dtype, rows, span, head, dim};
  }
  // What has not been fetched.
  HWY_INLINE void finish() {
    while (taken_ < shares_) fetch();
  }
  HWY_INLINE void fetch() {
    if (taken_ >= shares_) return;
    for (int n = 0; n < count_; ++n) {
      const Part& part = parts_[n];
      prefetch_rows(part.dtype, part.rows, Share{taken_, shares_}.of(part.span), part.head, part.dim);
    }
    ++taken_;
  }

 private:
  struct Part {
    DType dtype;
    HeadRows rows;
    RowSpan span;
    std::int64_t head, dim;
  };
  Part parts_[9];
  int count_ = 0;
  std::int64_t taken_ = 0, shares_;
};

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
