#include <headway/kernels/segments.h>

#include <type_traits>
#include <vector>

#include <headway/core/parallel.h>

namespace headway::inline v1::kernels {
namespace {

template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace

template <typename T>
void segment_mean(const T* x, std::span<const std::int64_t> offsets, std::int64_t width, T* y) {
  core::parallel_for(static_cast<std::int64_t>(offsets.size()) - 1, [&](std::int64_t b) {
    const std::int64_t begin = offsets[static_cast<std::size_t>(b)],
                       end = offsets[static_cast<std::size_t>(b) + 1];
    std::vector<Sum<T>> sums(static_cast<std::size_t>(width), 0);
    for (std::int64_t i = begin; i < end; ++i) {
      const T* row = x + i * width;
      for (std::int64_t c = 0; c < width; ++c)
        sums[static_cast<std::size_t>(c)] += static_cast<Sum<T>>(row[c]);
    }
    const auto count = static_cast<Sum<T>>(end - begin);
    for (std::int64_t c = 0; c < width; ++c) y[b * width + c] = T(sums[static_cast<std::size_t>(c)] / count);
  });
}

template <typename T>
void segment_mean_backward(const T* dy, std::span<const std::int64_t> offsets, std::int64_t width, T* dx) {
  core::parallel_for(static_cast<std::int64_t>(offsets.size()) - 1, [&](std::int64_t b) {
    const std::int64_t begin = offsets[static_cast<std::size_t>(b)],
                       end = offsets[static_cast<std::size_t>(b) + 1];
    const auto count = static_cast<Sum<T>>(end - begin);
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t c = 0; c < width; ++c)
        dx[i * width + c] = T(static_cast<Sum<T>>(dy[b * width + c]) / count);
    }
  });
}

template void segment_mean(const float*, std::span<const std::int64_t>, std::int64_t, float*);
template void segment_mean(const double*, std::span<const std::int64_t>, std::int64_t, double*);
template void segment_mean(const bfloat16*, std::span<const std::int64_t>, std::int64_t, bfloat16*);
template void segment_mean_backward(const float*, std::span<const std::int64_t>, std::int64_t, float*);
template void segment_mean_backward(const double*, std::span<const std::int64_t>, std::int64_t, double*);
template void segment_mean_backward(const bfloat16*, std::span<const std::int64_t>, std::int64_t, bfloat16*);

}  // namespace headway::inline v1::kernels
