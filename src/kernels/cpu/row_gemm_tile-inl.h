// The register tile of products whose rows do not depend on their number, and the walk over a unit's tiles.
#if defined(HEADWAY_KERNELS_CPU_ROW_GEMM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ROW_GEMM_TILE_INL_H_
#undef HEADWAY_KERNELS_CPU_ROW_GEMM_TILE_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ROW_GEMM_TILE_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include <hwy/cache_control.h>

#include "kernels/cpu/activation-inl.h"
#include "kernels/cpu/pairs-inl.h"
#include "kernels/cpu/row_gemm.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Rows of a full tile. With two vectors of outputs that is 24 accumulators of 32 registers, or 12 of 16.
constexpr int kTileRows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;
constexpr int kPanelVectors = static_cast<int>(kPackedOutputs / kLanes);
// Vectors of outputs beside so many rows: eight accumulators at least, or a tile waits for its own sums (two
// pipes, four cycles). One row waits for memory first, and two panels are enough.
constexpr int tile_vectors(int rows) {
  return rows == 1 ? std::min(8, 2 * kPanelVectors) : rows <= 3 ? 4 : 2;
}
// Words of each output that are multiplied before the next tile's: a panel of them stays in the first-level
// cache while all groups of rows pass. Sums wait in memory in between, and go on from there.
constexpr std::int64_t kDepthAtOnce = HWY_TARGET <= HWY_AVX3 ? 256 : 128;
// How far ahead of its use W is asked for where one group reads it, so once: pages end the hardware's own
// prefetching.
constexpr std::int64_t kFloatsAhead = 1024;
constexpr std::int64_t kLine = 16;  // floats of a line of the cache

struct AsWidened {};  // beside AsFloats and AsPairs: both halves of a word, one after the other

// kRows x kVectors sums: vectors from `w` on, those of further panels `w_panel` apart. `sums` are read unless
// the tile is the `first` along k.
struct RowTile {
  std::int64_t depth = 0;
  const float* x = nullptr;  // [depth · words][kRows]
  const float* w = nullptr;  // row l at w + l·kPackedOutputs
  std::int64_t w_panel = 0;
  float* sums = nullptr;
  std::int64_t sums_row = 0;
  bool first = true;
  // Words of W that come next, one line asked for with each row l, `next_step` bytes on: several groups, who
  // read a panel from the cache, share in fetching the next, or the first of them would wait for memory
  // alone.
  const char* next = nullptr;
  std::int64_t next_step = 0;
};

// Offset of vector v in the packed weights.
HWY_INLINE std::int64_t vector_at(int v, std::int64_t w_panel) {
  return v / kPanelVectors * w_panel + v % kPanelVectors * kLanes;
}

template <class As, int kRows, int kVectors, bool kAhead>
HWY_INLINE void row_tile(const RowTile& tile) {
  const FloatTag f;
  Floats sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = tile.first ? hn::Zero(f) : hn::LoadU(f, tile.sums + r * tile.sums_row + v * kLanes);
  }
  // Copies: a store through a vector's pointer might change `tile`, for all the compiler knows.
  const std::int64_t w_panel = tile.w_panel;
  const std::int64_t next_step = tile.next_step;
  const char* next = tile.next;
  const float *x = tile.x, *w = tile.w;
  const auto word = [&](int v) HWY_ATTR { return hn::Load(f, w + vector_at(v, w_panel)); };
  const auto multiply = [&](const Floats* by, auto add) HWY_ATTR {
    for (int r = 0; r < kRows; ++r) {
      const Floats one = hn::Set(f, x[r]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = add(one, by[v], sums[r][v]);
    }
    x += kRows;
  };
  for (std::int64_t l = 0; l < tile.depth; ++l) {
    Floats by[kVectors];
    if constexpr (kAhead) {
      for (int v = 0; v < kVectors; ++v)
        if (v * kLanes % kLine == 0) hwy::Prefetch(w + vector_at(v, w_panel) + kFloatsAhead);
    } else {
      __builtin_prefetch(next, 0, 2);
      next += next_step;
    }
    if constexpr (std::is_same_v<As, AsWidened>) {
      const auto add = [](Floats a, Floats b, Floats sum) HWY_ATTR { return AsFloats::add(a, b, sum); };
      for (int v = 0; v < kVectors; ++v) by[v] = low_halves(word(v));
      multiply(by, add);
      for (int v = 0; v < kVectors; ++v) by[v] = high_halves(word(v));
      multiply(by, add);
    } else {
      for (int v = 0; v < kVectors; ++v) by[v] = word(v);
      multiply(by, [](Floats a, Floats b, Floats sum) HWY_ATTR { return As::add(a, b, sum); });
    }
    w += kPackedOutputs;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], f, tile.sums + r * tile.sums_row + v * kLanes);
  }
}

// `panels` panels for kRows rows.
template <class As, int kRows, bool kAhead>
void tile_row(RowTile tile, std::int64_t panels) {
  constexpr int kVectors = tile_vectors(kRows);
  constexpr int kMost = std::min(kVectors, kPanelVectors);
  constexpr std::int64_t kPanels = kVectors / kMost;
  std::int64_t panel = 0;
  const float* w = tile.w;
  float* sums = tile.sums;
  const auto at = [&](std::int64_t number, int vector) {
    tile.w = w + number * tile.w_panel + vector * kLanes;
    tile.sums = sums + number * kPackedOutputs + vector * kLanes;
  };
  for (; kPanels > 1 && panel + kPanels <= panels; panel += kPanels) {
    at(panel, 0);
    row_tile<As, kRows, kVectors, kAhead>(tile);
  }
  for (; panel < panels; ++panel) {
    for (int vector = 0; vector < kPanelVectors; vector += kMost) {
      at(panel, vector);
      row_tile<As, kRows, kMost, kAhead>(tile);
    }
  }
}

template <class As, int kRows, bool kAhead>
void tile_rows(const RowTile& tile, std::int64_t rows, std::int64_t panels) {
  if (rows == kRows) return tile_row<As, kRows, kAhead>(tile, panels);
  if constexpr (kRows > 1) tile_rows<As, kRows - 1, kAhead>(tile, rows, panels);
}

template <Epilogue kEpilogue, typename Out>
void finish_rows(const RowGemmArgs& args, const float* sums, std::int64_t sums_row, std::int64_t row,
                 std::int64_t rows, std::int64_t column) {
  const F32 d;
  const std::int64_t columns = std::min(kPackedOutputs, args.n - column);
  const float* bias = args.bias ? args.bias + column : nullptr;
  for (std::int64_t r = 0; r < rows; ++r) {
    Out* y = static_cast<Out*>(args.y) + (row + r) * args.y_row + column;
    for_vectors(columns, [&](std::int64_t j, auto part) HEADWAY_BODY {
      VF v = hn::LoadU(d, sums + r * sums_row + j);
      if (bias) v = hn::Add(v, load(d, bias + j, part));
      if constexpr (kEpilogue == Epilogue::relu) v = relu_of(v);
      if constexpr (kEpilogue == Epilogue::gelu) v = gelu_of(v);
      if constexpr (kEpilogue == Epilogue::gelu_tanh) v = gelu_tanh_of(v);
      if constexpr (kEpilogue == Epilogue::silu) v = silu_of(v);
      store(d, v, y + j, part);
    });
  }
}

// Bias, activation and storing of one panel's columns.
template <typename Out>
void finish(const RowGemmArgs& args, const float* sums, std::int64_t sums_row, std::int64_t row,
            std::int64_t rows, std::int64_t column) {
  switch (args.epilogue) {
    case Epilogue::none:
      return finish_rows<Epilogue::none, Out>(args, sums, sums_row, row, rows, column);
    case Epilogue::relu:
      return finish_rows<Epilogue::relu, Out>(args, sums, sums_row, row, rows, column);
    case Epilogue::gelu:
      return finish_rows<Epilogue::gelu, Out>(args, sums, sums_row, row, rows, column);
    case Epilogue::gelu_tanh:
      return finish_rows<Epilogue::gelu_tanh, Out>(args, sums, sums_row, row, rows, column);
    case Epilogue::silu:
      return finish_rows<Epilogue::silu, Out>(args, sums, sums_row, row, rows, column);
  }
}

// sums: [rows of the unit][its outputs].
template <class As>
void multiply_unit(const RowGemmTask& task, const RowGemmUnit& unit, float* sums) {
  const std::int64_t panels = unit.panel_end - unit.panel_begin, sums_row = panels * kPackedOutputs;
  const std::int64_t row = task.first_row(unit.group_begin), rows = task.first_row(unit.group_end) - row;
  RowTile tile{.w_panel = task.depth * kPackedOutputs, .sums_row = sums_row};
  const auto finish_panel = [&](std::int64_t panel) HWY_ATTR {
    const RowGemmArgs& args = *task.args;
    const std::int64_t column = (unit.panel_begin + panel) * kPackedOutputs;
    const float* from = sums + panel * kPackedOutputs;
    args.y_dtype == DType::float32 ? finish<float>(args, from, sums_row, row, rows, column)
                                   : finish<bfloat16>(args, from, sums_row, row, rows, column);
  };
  if (unit.group_end - unit.group_begin == 1) {
    tile.depth = task.depth;
    tile.x = task.x_of(unit.group_begin);
    tile.w = task.panel(unit.panel_begin);
    tile.sums = sums;
    tile_rows<As, kTileRows, true>(tile, rows, panels);
    for (std::int64_t panel = 0; panel < panels; ++panel) finish_panel(panel);
    return;
  }
  const std::int64_t groups = unit.group_end - unit.group_begin;
  const auto words_at = [&](std::int64_t panel, std::int64_t l)
                            HWY_ATTR { return task.panel(unit.panel_begin + panel) + l * kPackedOutputs; };
  tile.next_step = (kPackedOutputs * static_cast<std::int64_t>(sizeof(float)) + groups - 1) / groups;
  for (std::int64_t l = 0; l < task.depth; l += kDepthAtOnce) {
    tile.first = l == 0;
    tile.depth = std::min(kDepthAtOnce, task.depth - l);
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      tile.w = words_at(panel, l);
      const auto* next = reinterpret_cast<const char*>(panel + 1 < panels ? words_at(panel + 1, l)
                                                                          : words_at(0, l + tile.depth));
      for (std::int64_t g = unit.group_begin; g < unit.group_end; ++g) {
        tile.next = next + (g - unit.group_begin) * tile.next_step * tile.depth;
        tile.x = task.x_of(g) + l * task.x_words * task.rows(g);
        tile.sums = sums + (task.first_row(g) - row) * sums_row + panel * kPackedOutputs;
        tile_rows<As, kTileRows, false>(tile, task.rows(g), 1);
      }
      if (l + tile.depth == task.depth) finish_panel(panel);
    }
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
