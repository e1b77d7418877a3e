#include <cmath>

#include <headway/core/factory.h>
#include <headway/ops/composed.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "ops/dispatch.h"

namespace headway::inline v1::composed {
namespace {

// The position of each row of x: ids as they are, or counted.
std::vector<double> positions_of(const Tensor& x, const RotaryOptions& options) {
  std::vector<double> out;
  const std::int64_t batch = x.rank() == 4 ? x.size(0) : 1, length = x.size(-3);
  if (options.position_ids.defined()) {
    const auto ids = options.position_ids.to_vector<std::int32_t>();
    for (std::int64_t row = 0; row < batch * length; ++row)
      out.push_back(ids[static_cast<std::size_t>(row) % ids.size()]);
    return out;
  }
  const auto start = [&](std::size_t b) {
    const auto& starts = options.starts;
    return static_cast<double>(starts.empty() ? 0 : starts[starts.size() == 1 ? 0 : b]);
  };
  for (std::int64_t row = 0; row < batch * length; ++row) {
    std::size_t sequence = static_cast<std::size_t>(row / length);
    std::int64_t first = row / length * length;
    if (x.rank() == 3) {
      sequence = 0;
      while (options.offsets[sequence + 1] <= row) ++sequence;
      first = options.offsets[sequence];
    }
    out.push_back(start(sequence) + static_cast<double>(row - first));
  }
  return out;
}

}  // namespace

Tensor rotary(const Tensor& x, const RotaryOptions& options) {
  const RopeOptions& rope = options.rope;
  const std::int64_t dim = x.size(-1), dims = rope.rotated("rotary", dim), half = dims / 2;
  const bool halves = rope.pairs == RopePairs::half_split;
  const std::vector<double> positions = positions_of(x, options);
  std::vector<double> cosines, sines;
  for (const double position : positions) {
    for (std::int64_t m = 0; m < half; ++m) {
      cosines.push_back(rope.factor * std::cos(position * rope.rate(m, dims)));
      sines.push_back(rope.factor * std::sin(position * rope.rate(m, dims)));
    }
  }
  // Pairs as [..., 2, half] or [..., half, 2]; cosines broadcast over heads and over the pair's two columns.
  const DType dtype = detail::compute_dtype(x.dtype());
  const int axis = halves ? -2 : -1;
  const auto rows = static_cast<std::int64_t>(positions.size());
  const Shape wide = halves ? Shape{rows, 1, 1, half} : Shape{rows, 1, half, 1};
  const Tensor c = cast(from(cosines, wide), dtype), s = cast(from(sines, wide), dtype);
  const Tensor flat = reshape(cast(x, dtype), {rows, x.size(-2), dim});
  const Tensor pairs = reshape(slice(flat, -1, 0, dims),
                               halves ? Shape{rows, x.size(-2), 2, half} : Shape{rows, x.size(-2), half, 2});
  const Tensor a = slice(pairs, axis, 0, 1), b = slice(pairs, axis, 1, 2);
  const Tensor turned = concat({add(mul(a, c), scale(mul(b, s), -1)), add(mul(b, c), mul(a, s))}, axis);
  const Tensor out = concat({reshape(turned, {rows, x.size(-2), dims}), slice(flat, -1, dims, dim)}, -1);
  return cast(reshape(out, x.shape()), x.dtype());
}

}  // namespace headway::inline v1::composed
