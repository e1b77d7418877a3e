#include <headway/kernels/rotary.h>

#include <algorithm>
#include <cmath>

// The oracle: the paper's formula, every angle by itself.
namespace headway::inline v1::kernels {

template <>
void rotary(const RotaryArgs<double>& args) {
  const bool halves = args.rope.pairs == RopePairs::half_split;
  for (std::int64_t row = 0; row < args.batch * args.length; ++row) {
    for (std::int64_t h = 0; h < args.heads; ++h) {
      const double* x =
          args.x + row / args.length * args.sequence + row % args.length * args.row + h * args.head;
      double* y = args.y + (row * args.heads + h) * args.dim;
      std::copy(x + args.dims, x + args.dim, y + args.dims);
      for (std::int64_t m = 0; m < args.dims / 2; ++m) {
        const double frequency =
            std::pow(args.rope.base, -2 * static_cast<double>(m) / static_cast<double>(args.dims));
        const double angle = static_cast<double>(args.positions[row]) / args.rope.scaling * frequency *
                             (args.inverse ? -1 : 1);
        const std::int64_t a = halves ? m : 2 * m, b = halves ? m + args.dims / 2 : 2 * m + 1;
        y[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
        y[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
      }
    }
  }
}

}  // namespace headway::inline v1::kernels
