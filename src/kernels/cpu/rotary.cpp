#include <headway/kernels/rotary.h>

#include <algorithm>
#include <cmath>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rotary.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Columns m and m + half; cosines and sines of the row in `line`.
template <typename T>
HWY_INLINE void turn_halves(const T* x, const float* line, float sign, std::int64_t half, T* y) {
  const F32 d;
  const VF turn = hn::Set(d, sign);
  for_vectors(half, [&](std::int64_t m, auto part) HEADWAY_BODY {
    const VF c = load(d, line + m, part), s = hn::Mul(turn, load(d, line + half + m, part));
    const VF a = load(d, x + m, part), b = load(d, x + half + m, part);
    store(d, hn::NegMulAdd(b, s, hn::Mul(a, c)), y + m, part);
    store(d, hn::MulAdd(a, s, hn::Mul(b, c)), y + half + m, part);
  });
}

// Columns 2m and 2m + 1: with neighbours exchanged, y = x·c + x'·(-s, s). A tail has whole pairs.
template <typename T>
HWY_INLINE void turn_neighbours(const T* x, const float* line, float sign, std::int64_t dims, T* y) {
  const F32 d;
  const VF turn = hn::Set(d, sign);
  for_vectors(dims, [&](std::int64_t i, auto part) HEADWAY_BODY {
    const VF c = load(d, line + i, part), s = hn::Mul(turn, load(d, line + dims + i, part));
    const VF v = load(d, x + i, part);
    store(d, hn::MulAdd(hn::Reverse2(d, v), s, hn::Mul(v, c)), y + i, part);
  });
}

template <typename T>
void rotate_rows(const RotaryArgs<T>& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = rotary_line(args.rope.pairs, args.dims);
  const float sign = args.inverse ? -1.0f : 1.0f;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* from = args.x + row / args.length * args.sequence + row % args.length * args.row;
    const float* line = args.table + args.lines[row] * width;
    T* to = args.y + row * args.heads * args.dim;
    for (std::int64_t h = 0; h < args.heads; ++h) {
      const T* x = from + h * args.head;
      T* y = to + h * args.dim;
      if (args.rope.pairs == RopePairs::half_split) {
        turn_halves(x, line, sign, args.dims / 2, y);
      } else {
        turn_neighbours(x, line, sign, args.dims, y);
      }
      std::copy(x + args.dims, x + args.dim, y + args.dims);
    }
  }
}

void rotate_f32(const RotaryArgs<float>& args, std::int64_t begin, std::int64_t end) {
  rotate_rows(args, begin, end);
}
void rotate_bf16(const RotaryArgs<bfloat16>& args, std::int64_t begin, std::int64_t end) {
  rotate_rows(args, begin, end);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
HWY_EXPORT(rotate_f32);
HWY_EXPORT(rotate_bf16);
namespace {

constexpr std::int64_t kElements = 1 << 14;  // of x, for one unit of work

template <typename T>
std::int64_t grain_of(const RotaryArgs<T>& args) {
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, args.heads * args.dim));
}

// Positions that share an anchor, a multiple of this many: angles are the anchor's and the rest's, added.
constexpr std::int64_t kRun = 64;

std::int64_t rest_of(std::int64_t position) { return (position % kRun + kRun) % kRun; }

// Cosines, then sines, of `position` times each of the rates, times `factor`.
void circle_points(const double* rates, std::int64_t half, std::int64_t position, double factor,
                   double* out) {
  for (std::int64_t m = 0; m < half; ++m) {
    const double angle = static_cast<double>(position) * rates[m];
    out[m] = factor * std::cos(angle);
    out[half + m] = factor * std::sin(angle);
  }
}

}  // namespace

template <>
void rotary(const RotaryArgs<float>& args) {
  core::parallel_ranges(args.batch * args.length, grain_of(args), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(rotate_f32)(args, begin, end);
  });
}
template <>
void rotary(const RotaryArgs<bfloat16>& args) {
  core::parallel_ranges(args.batch * args.length, grain_of(args), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(rotate_bf16)(args, begin, end);
  });
}

std::size_t rotary_table_workspace(std::int64_t dims, std::size_t positions) {
  const std::size_t units = (positions + kRun - 1) / kRun;
  return (static_cast<std::size_t>(kRun) + units + 1) * static_cast<std::size_t>(dims);
}

// A sine and cosine in float64 for each position and pair would take longer than the rotation itself. With p
// = anchor + rest, rest < 64, cos φ_p = cos φ_a·cos φ_r - sin φ_a·sin φ_r, and only anchors and rests need
// the library's functions. The two roundings of products in float64 (2e-16) and that of the angle (1e-16
// times its size: 1e-11 at position 100000) vanish in the float32's (3e-8).
void rotary_table(const RopeOptions& rope, std::int64_t dims, std::span<const std::int64_t> positions,
                  float* table, double* workspace) {
  const std::int64_t half = dims / 2, width = rotary_line(rope.pairs, dims);
  const auto count = static_cast<std::int64_t>(positions.size());
  double *rates = workspace, *rests = rates + dims, *anchors = rests + kRun * dims;
  for (std::int64_t m = 0; m < half; ++m) rates[m] = rope.rate(m, dims);
  bool used[kRun] = {};
  for (const std::int64_t position : positions) used[rest_of(position)] = true;
  // At most kRun·dims/2 of them, about 50 µs for 64 columns: as long as it takes to wake other threads.
  for (std::int64_t rest = 0; rest < kRun; ++rest) {
    if (used[rest]) circle_points(rates, half, rest, 1, rests + rest * dims);
  }
  core::parallel_ranges(count, kRun, [&](std::int64_t begin, std::int64_t end) {
    double* anchor = anchors + begin / kRun * dims;
    std::int64_t anchor_position = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t position = positions[static_cast<std::size_t>(i)], rest = rest_of(position);
      if (i == begin || position - rest != anchor_position) {
        anchor_position = position - rest;
        circle_points(rates, half, anchor_position, rope.factor, anchor);
      }
      const double* turn = rests + rest * dims;
      float* line = table + i * width;
      for (std::int64_t m = 0; m < half; ++m) {
        const double c = anchor[m] * turn[m] - anchor[half + m] * turn[half + m];
        const double s = anchor[half + m] * turn[m] + anchor[m] * turn[half + m];
        if (rope.pairs == RopePairs::half_split) {
          line[m] = static_cast<float>(c);
          line[half + m] = static_cast<float>(s);
        } else {
          line[2 * m] = line[2 * m + 1] = static_cast<float>(c);
          line[dims + 2 * m] = static_cast<float>(-s);
          line[dims + 2 * m + 1] = static_cast<float>(s);
        }
      }
    }
  });
}

}  // namespace headway::inline v1::kernels
#endif
