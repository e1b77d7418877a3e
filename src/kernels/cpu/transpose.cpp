#include <headway/kernels/transpose.h>

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/transpose.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four rows at a time: an interleaving store makes runs of four results that are adjacent in `out`. Columns
// go in blocks whose output rows stay in the L1 cache until their lines are full.
template <typename T>
void transpose_lanes(const T* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns, T* out,
                     std::int64_t out_row) {
  const hn::ScalableTag<T> d;
  constexpr auto kWidth = static_cast<std::int64_t>(hn::MaxLanes(hn::ScalableTag<T>()));
  HWY_ALIGN T quad[4 * kWidth];
  for (std::int64_t c = 0; c < columns; c += kWidth) {
    const bool whole = c + kWidth <= columns;
    std::int64_t r = 0;
    for (; whole && r + 4 <= rows; r += 4) {
      const T* at = in + r * in_row + c;
      hn::StoreInterleaved4(hn::LoadU(d, at), hn::LoadU(d, at + in_row), hn::LoadU(d, at + 2 * in_row),
                            hn::LoadU(d, at + 3 * in_row), d, quad);
      for (std::int64_t l = 0; l < kWidth; ++l)
        std::memcpy(out + (c + l) * out_row + r, quad + 4 * l, 4 * sizeof(T));
    }
    for (; r < rows; ++r) {
      for (std::int64_t l = c; l < (whole ? c + kWidth : columns); ++l)
        out[l * out_row + r] = in[r * in_row + l];
    }
  }
}

void transpose_words(const std::uint32_t* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns,
                     std::uint32_t* out, std::int64_t out_row) {
  transpose_lanes(in, in_row, rows, columns, out, out_row);
}
void transpose_halves(const std::uint16_t* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns,
                      std::uint16_t* out, std::int64_t out_row) {
  transpose_lanes(in, in_row, rows, columns, out, out_row);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(transpose_words);
HWY_EXPORT(transpose_halves);
}  // namespace

void transpose_elements(DType dtype, const void* in, std::int64_t in_row, std::int64_t rows,
                        std::int64_t columns, void* out, std::int64_t out_row) {
  if (size_of(dtype) == 2) {
    HWY_DYNAMIC_DISPATCH(transpose_halves)
    (static_cast<const std::uint16_t*>(in), in_row, rows, columns, static_cast<std::uint16_t*>(out), out_row);
  } else {
    HWY_DYNAMIC_DISPATCH(transpose_words)
    (static_cast<const std::uint32_t*>(in), in_row, rows, columns, static_cast<std::uint32_t*>(out), out_row);
  }
}
}  // namespace headway::inline v1::kernels
#endif
