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

// Rows that come next, fetched row by row between the register tiles of products and the exponentials: rows
// of heads lie far apart, where the hardware's own prefetching, which follows adjacent lines, does not find
// them; and a core has a few dozen lines on their way at a time, and waits when more are asked for at once.
class Ahead {
 public:
  // `times`: how often fetch() will be called, about.
  explicit Ahead(std::int64_t times) : times_(std::max<std::int64_t>(times, 1)) {}
  void add(DType dtype, const HeadRows& rows, const RowSpan& span, std::int64_t head, std::int64_t dim) {
    if (!rows.data || span.count <= 0) return;
    const auto size = static_cast<std::int64_t>(size_of(dtype));
    parts_[count_++] = {static_cast<const char*>(rows.at(dtype, span.first, head)),
                        rows.row * span.step * size, dim * size, span.count};
    rows_ += span.count;
    at_once_ = (rows_ + times_ - 1) / times_;
  }
  // Always inlined: a function that only prefetches has no effect in GCC's eyes, and its calls are dropped.
  HWY_INLINE void fetch() { fetch_rows(at_once_); }
  // What has not been fetched.
  HWY_INLINE void finish() { fetch_rows(rows_); }

 private:
  struct Part {
    const char* next;
    std::int64_t row, bytes, count;  // apart; of each; rows
  };
  HWY_INLINE void fetch_rows(std::int64_t rows) {
    constexpr std::int64_t kLine = 64;
    for (; rows > 0 && current_ < count_; --rows) {
      Part& part = parts_[current_];
      for (std::int64_t at = 0; at < part.bytes; at += kLine) hwy::Prefetch(part.next + at);
      part.next += part.row;
      if (--part.count == 0) ++current_;
    }
  }
  Part parts_[9];
  int count_ = 0, current_ = 0;
  std::int64_t times_, rows_ = 0, at_once_ = 0;
};

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
