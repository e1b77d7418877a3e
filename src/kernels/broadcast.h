#pragma once
#include <algorithm>
#include <cstdint>

#include <headway/core/parallel.h>
#include <headway/core/shape.h>

namespace headway::inline v1::kernels {

/// Cuts a broadcast operation in rows: row(a, a_is_row, b, b_is_row, out, count), where an operand that is no
/// row is one element. Strides of the last dimension are 0 or 1 (other layouts become contiguous first).
/// Trailing dimensions that both operands walk alike are merged into one row, cut in pieces of 2^14 so that
/// threads can share it.
template <typename T, typename Row>
void broadcast_rows(const Shape& shape, const T* a, const Strides& a_strides, const T* b,
                    const Strides& b_strides, T* out, Row&& row) {
  constexpr std::int64_t kPiece = 1 << 14;
  if (shape.numel() == 0) return;
  int outer_rank = shape.rank();
  std::int64_t inner = 1;
  bool a_row = true, b_row = true, first = true;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1) {
      const bool fits_a = a_strides[i] == (a_row || first ? inner : 0) || (first && a_strides[i] == 0);
      const bool fits_b = b_strides[i] == (b_row || first ? inner : 0) || (first && b_strides[i] == 0);
      if (!fits_a || !fits_b) break;
      if (first) {
        a_row = a_strides[i] != 0;
        b_row = b_strides[i] != 0;
        first = false;
      }
      inner *= shape[i];
    }
    outer_rank = i;
  }
  std::int64_t outer = 1;
  for (int i = 0; i < outer_rank; ++i) outer *= shape[i];
  const std::int64_t pieces = (inner + kPiece - 1) / kPiece;
  const std::int64_t grain = pieces > 1 ? 1 : std::max<std::int64_t>(1, kPiece / inner);
  core::parallel_ranges(outer * pieces, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t at = unit % pieces * kPiece;
      std::int64_t rest = unit / pieces;
      T* target = out + rest * inner + at;
      const T* pa = a + (a_row ? at : 0);
      const T* pb = b + (b_row ? at : 0);
      for (int i = outer_rank - 1; i >= 0; --i) {
        pa += rest % shape[i] * a_strides[i];
        pb += rest % shape[i] * b_strides[i];
        rest /= shape[i];
      }
      row(pa, a_row, pb, b_row, target, std::min(kPiece, inner - at));
    }
  });
}

}  // namespace headway::inline v1::kernels
