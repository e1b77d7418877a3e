#pragma once
#include <cstdint>

#include <headway/core/export.h>
#include <headway/kernels/precision.h>

/// Looking up rows of tables, and the scatter that is its transpose.
namespace headway::inline v1::kernels {

/// out[i] = table[ids[i]]·scale + positions[position_ids[i]]; positions may be null. Ids are in range.
template <typename Table, typename Out>
struct Lookup {
  std::int64_t count = 0, dim = 0;
  const std::int32_t* ids = nullptr;
  const Table* table = nullptr;
  double scale = 1;
  const std::int32_t* position_ids = nullptr;
  const Table* positions = nullptr;
  Out* out = nullptr;
};
template <typename Table, typename Out>
void lookup(const Lookup<Table, Out>& args);

/// Counting sort: order[starts[r] … starts[r + 1] - 1] are the places that hold id r, ascending. starts [rows
/// + 1], order [count].
HEADWAY_API void group_by_row(const std::int32_t* ids, std::int64_t count, std::int64_t rows,
                              std::int32_t* starts, std::int32_t* order);

/// d_table[r] = scale·(sum of d_out over the places that hold r, in their order), 0 for a row never named.
template <typename Grad, typename Table>
struct Scatter {
  std::int64_t rows = 0, dim = 0;
  const std::int32_t* starts = nullptr;
  const std::int32_t* order = nullptr;
  const Grad* d_out = nullptr;
  double scale = 1;
  Table* d_table = nullptr;
};
template <typename Grad, typename Table>
void scatter(const Scatter<Grad, Table>& args);

}  // namespace headway::inline v1::kernels
