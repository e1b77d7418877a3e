#include <algorithm>
#include <memory>
#include <vector>

#include <headway/core/dtype.h>
#include <headway/core/parallel.h>
#include <headway/kernels/pointwise.h>
#include <headway/kernels/precision.h>

namespace headway::inline v1::kernels {
namespace {

constexpr std::int64_t kBlock = 4096;

template <typename T>
double wide(T value) {
  return static_cast<double>(static_cast<compute_t<T>>(value));
}

template <typename T>
double sum_blocks(const T* x, std::int64_t count) {
  std::vector<double> partial(static_cast<std::size_t>((count + kBlock - 1) / kBlock));
  core::parallel_ranges(count, kBlock, [&](std::int64_t begin, std::int64_t end) {
    // Four chains hide the latency of addition; their number is fixed, so the order is too.
    double chains[4] = {};
    for (std::int64_t i = begin; i < end; ++i) chains[(i - begin) % 4] += wide(x[i]);
    partial[static_cast<std::size_t>(begin / kBlock)] = (chains[0] + chains[1]) + (chains[2] + chains[3]);
  });
  double total = 0;
  for (const double value : partial) total += value;
  return total;
}

// Output elements are independent; each adds up its own terms in row-major order. A unit owns a run of
// outputs and walks the summed dimensions once, so that a run along the last dimension is read row by row.
template <typename T>
void sum_to_runs(const Shape& shape, const T* x, const Shape& kept, T* out) {
  constexpr std::int64_t kRun = 64;
  const int rank = shape.rank();
  const Strides strides = contiguous_strides(shape);
  std::int64_t summed = 1;
  for (int i = 0; i < rank; ++i) summed *= kept[i] == shape[i] ? 1 : shape[i];
  core::parallel_ranges(kept.numel(), kRun, [&](std::int64_t begin, std::int64_t end) {
    double total[kRun] = {};
    std::int64_t offset[kRun] = {};
    for (std::int64_t o = begin; o < end; ++o) {
      std::int64_t rest = o, at = 0;
      for (int i = rank - 1; i >= 0; --i) {
        at += rest % kept[i] * strides[i];
        rest /= kept[i];
      }
      offset[o - begin] = at;
    }
    for (std::int64_t s = 0; s < summed; ++s) {
      std::int64_t rest = s, base = 0;
      for (int i = rank - 1; i >= 0; --i) {
        if (kept[i] == shape[i]) continue;
        base += rest % shape[i] * strides[i];
        rest /= shape[i];
      }
      for (std::int64_t o = 0; o < end - begin; ++o) total[o] += wide(x[base + offset[o]]);
    }
    for (std::int64_t o = begin; o < end; ++o) out[o] = T(static_cast<compute_t<T>>(total[o - begin]));
  });
}

}  // namespace

#define HEADWAY_FOR(T)                                                     \
  template <>                                                              \
  double sum(const T* x, std::int64_t count) {                             \
    return sum_blocks(x, count);                                           \
  }                                                                        \
  template <>                                                              \
  void sum_to(const Shape& shape, const T* x, const Shape& kept, T* out) { \
    sum_to_runs(shape, x, kept, out);                                      \
  }
HEADWAY_FOR(float)
HEADWAY_FOR(bfloat16)
HEADWAY_FOR(double)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
