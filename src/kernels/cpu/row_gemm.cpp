#include <headway/kernels/row_gemm.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>

#include "kernels/cpu/pair_products.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_gemm.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/row_gemm_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Rows of one group, interleaved: [words][rows], zeros where k ends within a word.
void row_gemm_pack_group(const RowGemmTask& task, std::int64_t group, float* out) {
  constexpr std::int64_t kWords = 128;
  const RowGemmArgs& args = *task.args;
  const std::int64_t row = task.first_row(group), rows = task.rows(group);
  if (task.multiply == Multiply::floats) {
    return transpose(static_cast<const float*>(args.x) + row * args.x_row, args.x_row, rows, args.k,
                     Unscaled(), out, rows);
  }
  const auto* x = static_cast<const bfloat16*>(args.x) + row * args.x_row;
  HWY_ALIGN float words[kTileRows * kWords * 2];
  for (std::int64_t begin = 0; begin < task.depth; begin += kWords) {
    const std::int64_t count = std::min(kWords, task.depth - begin),
                       present = std::min(2 * count, args.k - 2 * begin);
    const std::int64_t width = count * task.x_words;
    for (std::int64_t r = 0; r < rows; ++r) {
      const bfloat16* from = x + r * args.x_row + 2 * begin;
      float* to = words + r * width;
      if (task.multiply == Multiply::widened) {
        to_floats(from, present, to);
        if (present < width) to[present] = 0;
      } else {
        to[count - 1] = 0;
        std::memcpy(to, from, static_cast<std::size_t>(present) * sizeof(bfloat16));
      }
    }
    transpose(words, width, rows, width, Unscaled(), out + begin * task.x_words * rows, rows);
  }
}

void row_gemm_unit(const RowGemmTask& task, const RowGemmUnit& unit, float* sums) {
  switch (task.multiply) {
    case Multiply::floats:
      return multiply_unit<AsFloats>(task, unit, sums);
    case Multiply::pairs:
#if HWY_TARGET <= HWY_AVX3
      return multiply_unit<AsPairs>(task, unit, sums);
#endif
    case Multiply::widened:
      return multiply_unit<AsWidened>(task, unit, sums);
  }
}

std::int64_t row_gemm_tile_rows() { return kTileRows; }

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
HWY_EXPORT(row_gemm_pack_group);
HWY_EXPORT(row_gemm_unit);
HWY_EXPORT(row_gemm_tile_rows);
namespace {

// Groups of rows in a unit: with the words at once (kDepthAtOnce) of X they fill half of a small second-level
// cache. Panels likewise.
constexpr std::int64_t kGroupsAtOnce = 10;
constexpr std::int64_t kPanelsAtOnce = 8;
// Bytes of W in a unit of few rows: some tens of microseconds of reading, beside which handing out a unit and
// its first wait for memory are little.
constexpr std::int64_t kBytesAtOnce = 1 << 19;
// Below this many words X is packed by the calling thread.
constexpr std::int64_t kFewWords = 1 << 15;

std::int64_t parts_of(std::int64_t count, std::int64_t part) { return (count + part - 1) / part; }

// Panels of a unit, by the shape alone: enough units for a dozen threads where the product has work for them.
std::int64_t panels_at_once(const RowGemmTask& task, std::int64_t panels) {
  const std::int64_t bytes = task.depth * kPackedOutputs * 4;
  if (task.groups > 1) return std::clamp<std::int64_t>(panels / 16, 1, kPanelsAtOnce);
  const std::int64_t wanted = std::max<std::int64_t>(1, std::min(kBytesAtOnce / bytes, panels / 16));
  return (wanted + 1) / 2 * 2;  // one row takes two panels at a time
}

Multiply multiply_as(DType dtype) {
  if (dtype == DType::float32) return Multiply::floats;
  return multiplies_pairs() ? Multiply::pairs : Multiply::widened;
}

void pack_groups(const RowGemmTask& task, float* out) {
  const auto pack = [&](std::int64_t g) {
    HWY_DYNAMIC_DISPATCH(row_gemm_pack_group)(task, g, out + task.first_row(g) * task.depth * task.x_words);
  };
  if (task.args->m * task.depth > kFewWords) return core::parallel_for(task.groups, pack);
  for (std::int64_t g = 0; g < task.groups; ++g) pack(g);
}

}  // namespace

void row_gemm(const RowGemmArgs& args) {
  if (args.dtype != DType::float32 && args.dtype != DType::bfloat16) {
    fail(ErrorCode::dtype, "row_gemm",
         fmt::format("dtype is {}; want float32 or bfloat16", name_of(args.dtype)));
  }
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) fail(ErrorCode::shape, "row_gemm", "inner dimension is 0; want at least 1");
  RowGemmTask task{.args = &args, .multiply = multiply_as(args.dtype), .depth = words_of(args.dtype, args.k)};
  task.x_words = task.multiply == Multiply::widened ? 2 : 1;
  task.groups = parts_of(args.m, HWY_DYNAMIC_DISPATCH(row_gemm_tile_rows)());
  thread_local Scratch packed;
  if (args.m == 1 && args.dtype == DType::float32) {
    task.x = static_cast<const float*>(args.x);  // one row interleaved is itself
  } else {
    auto* x = static_cast<float*>(
        packed.at_least(static_cast<std::size_t>(args.m * task.depth * task.x_words) * sizeof(float)));
    pack_groups(task, x);
    task.x = x;
  }
  const std::int64_t panels = parts_of(args.n, kPackedOutputs);
  const std::int64_t width = panels_at_once(task, panels), blocks = parts_of(task.groups, kGroupsAtOnce);
  // Blocks of rows one after another with the same outputs: W comes from the cache for all but the first.
  core::parallel_for(parts_of(panels, width) * blocks, [&](std::int64_t unit) {
    thread_local Scratch sums;
    const std::int64_t block = unit % blocks, panel = unit / blocks * width;
    const RowGemmUnit part{.panel_begin = panel,
                           .panel_end = std::min(panel + width, panels),
                           .group_begin = block * task.groups / blocks,
                           .group_end = (block + 1) * task.groups / blocks};
    const std::int64_t rows = task.first_row(part.group_end) - task.first_row(part.group_begin);
    auto* to = static_cast<float*>(
        sums.at_least(static_cast<std::size_t>(rows * width * kPackedOutputs) * sizeof(float)));
    HWY_DYNAMIC_DISPATCH(row_gemm_unit)(task, part, to);
  });
}

}  // namespace headway::inline v1::kernels
#endif
