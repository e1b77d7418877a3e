#include <headway/kernels/rows.h>

namespace headway::inline v1::kernels {

template <>
void lookup(const Lookup<double, double>& args) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    for (std::int64_t j = 0; j < args.dim; ++j) {
      double value = args.table[args.ids[i] * args.dim + j] * args.scale;
      if (args.positions) value += args.positions[args.position_ids[i] * args.dim + j];
      args.out[i * args.dim + j] = value;
    }
  }
}

template <>
void scatter(const Scatter<double, double>& args) {
  for (std::int64_t r = 0; r < args.rows; ++r) {
    for (std::int64_t j = 0; j < args.dim; ++j) {
      double total = 0;
      for (std::int32_t place = args.starts[r]; place < args.starts[r + 1]; ++place) {
        total += args.d_out[args.order[place] * args.dim + j];
      }
      args.d_table[r * args.dim + j] = total * args.scale;
    }
  }
}

}  // namespace headway::inline v1::kernels
