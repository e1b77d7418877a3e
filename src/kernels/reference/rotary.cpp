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
        const auto pair = static_cast<std::size_t>(m);
        const double frequency =
            args.rope.inverse_frequencies.empty()
                ? std::pow(args.rope.base, -2 * static_cast<double>(m) / static_cast<double>(args.dims)) /
                      args.rope.scaling
                : args.rope.inverse_frequencies[pair];
        const double angle = static_cast<double>(args.positions[row]) * frequency * (args.inverse ? -1 : 1);
        const double cosine = args.rope.factor * std::cos(angle), sine = args.rope.factor * std::sin(angle);
        const std::int64_t a = halves ? m : 2 * m, b = halves ? m + args.dims / 2 : 2 * m + 1;
        y[a] = x[a] * cosine - x[b] * sine;
        y[b] = x[b] * cosine + x[a] * sine;
      }
    }
  }
}

}  // namespace headway::inline v1::kernels
