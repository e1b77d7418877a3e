// Weights packed for products whose rows do not depend on their number.
#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/kernels/row_gemm.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_gemm_pack.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/row_gemm.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

HWY_INLINE VF load(F32 d, const float16* p, Whole) {
  const hn::Rebind<hwy::float16_t, F32> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(p)));
}
HWY_INLINE VF load(F32 d, const float16* p, Tail tail) {
  HWY_ALIGN float16 buffer[hn::MaxLanes(F32())] = {};
  std::memcpy(static_cast<void*>(buffer), p, tail.n * 2);
  return load(d, buffer, Whole());
}

// One row's columns, `step` apart.
template <typename In, typename Out>
void convert(const In* in, std::int64_t step, std::int64_t count, Out* out) {
  if (step != 1) {
    for (std::int64_t c = 0; c < count; ++c) {
      const Out value(static_cast<float>(in[c * step]));
      std::memcpy(static_cast<void*>(out + c), &value, sizeof(Out));
    }
    return;
  }
  const F32 d;
  for_vectors(
      count, [&](std::int64_t c, auto part) HEADWAY_BODY { store(d, load(d, in + c, part), out + c, part); });
}

constexpr std::int64_t kWords = 128;

// A panel, kPackedOutputs rows at most: converted a few columns at a time, then transposed as words.
template <typename In, typename Out>
void pack_panel(const PackWeightArgs& a, const In* w, std::int64_t rows, float* out) {
  constexpr std::int64_t kPerWord = sizeof(float) / sizeof(Out);
  const std::int64_t depth = words_of(a.dtype, a.k);
  HWY_ALIGN float words[kPackedOutputs * kWords];
  for (std::int64_t begin = 0; begin < depth; begin += kWords) {
    const std::int64_t count = std::min(kWords, depth - begin), first = begin * kPerWord;
    const std::int64_t present = std::min(count * kPerWord, a.k - first);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = words + r * kWords;
      row[count - 1] = 0;
      convert(w + r * a.w_row + first * a.w_col, a.w_col, present, reinterpret_cast<Out*>(row));
    }
    std::fill(words + rows * kWords, words + kPackedOutputs * kWords, 0.f);
    transpose(words, kWords, kPackedOutputs, count, Unscaled(), out + begin * kPackedOutputs, kPackedOutputs);
  }
}

template <typename In>
void pack_panel_of(const PackWeightArgs& a, std::int64_t panel) {
  const std::int64_t row = panel * kPackedOutputs, rows = std::min(kPackedOutputs, a.rows - row);
  const In* w = static_cast<const In*>(a.w) + row * a.w_row;
  float* out = static_cast<float*>(a.packed) +
               (a.first / kPackedOutputs + panel) * words_of(a.dtype, a.k) * kPackedOutputs;
  a.dtype == DType::bfloat16 ? pack_panel<In, bfloat16>(a, w, rows, out)
                             : pack_panel<In, float>(a, w, rows, out);
}

void pack_weight_panel(const PackWeightArgs& args, std::int64_t panel) {
  if (args.w_dtype == DType::float32) return pack_panel_of<float>(args, panel);
  if (args.w_dtype == DType::bfloat16) return pack_panel_of<bfloat16>(args, panel);
  pack_panel_of<float16>(args, panel);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
HWY_EXPORT(pack_weight_panel);

std::size_t packed_weight_bytes(DType dtype, std::int64_t n, std::int64_t k) {
  const std::int64_t panels = (n + kPackedOutputs - 1) / kPackedOutputs;
  return static_cast<std::size_t>(panels * words_of(dtype, k) * kPackedOutputs) * sizeof(float);
}

void pack_weight(const PackWeightArgs& args) {
  const bool from =
      args.w_dtype == DType::float32 || args.w_dtype == DType::bfloat16 || args.w_dtype == DType::float16;
  if (!from || (args.dtype != DType::float32 && args.dtype != DType::bfloat16)) {
    fail(ErrorCode::dtype, "pack_weight",
         fmt::format("{} to {}; want float32, bfloat16 or float16 to float32 or bfloat16",
                     name_of(args.w_dtype), name_of(args.dtype)));
  }
  const std::int64_t panels = (args.rows + kPackedOutputs - 1) / kPackedOutputs;
  core::parallel_for(panels, [&](std::int64_t panel) {
    HWY_DYNAMIC_DISPATCH(pack_weight_panel)(args, panel);
  });
}

void packed_row(DType dtype, const void* packed, std::int64_t k, std::int64_t row, float* out) {
  const std::int64_t panel = row / kPackedOutputs, lane = row % kPackedOutputs;
  const auto* words =
      static_cast<const std::uint32_t*>(packed) + panel * words_of(dtype, k) * kPackedOutputs + lane;
  if (dtype == DType::float32) {
    for (std::int64_t c = 0; c < k; ++c) out[c] = std::bit_cast<float>(words[c * kPackedOutputs]);
    return;
  }
  for (std::int64_t c = 0; c < k; ++c) {
    const std::uint32_t word = words[c / 2 * kPackedOutputs];
    out[c] = std::bit_cast<float>(c % 2 == 0 ? word << 16 : word & 0xffff0000u);
  }
}

}  // namespace headway::inline v1::kernels
#endif
