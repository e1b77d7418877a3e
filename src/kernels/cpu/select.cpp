#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <headway/core/parallel.h>
#include <headway/kernels/softmax.h>

namespace headway::inline v1::kernels {
namespace {

// Larger first; NaN last.
template <typename C>
bool before(C a, C b) {
  return a > b || (std::isnan(b) && !std::isnan(a));
}

// Keeps the k best so far in order: a new element rarely enters, so that a row costs one comparison per
// element.
template <typename C, typename T>
void insert_scan(std::int64_t dim, std::int64_t k, const T* x, T* values, std::int32_t* indices) {
  constexpr std::int64_t kStep = 16;
  std::int64_t held = 0;
  std::int64_t i = 0;
  while (i < dim) {
    if (held == k && i + kStep <= dim) {
      const C worst = static_cast<C>(values[k - 1]);
      if (!std::isnan(worst)) {
        bool any = false;
        for (std::int64_t j = 0; j < kStep; ++j) any |= static_cast<C>(x[i + j]) > worst;
        if (!any) {
          i += kStep;
          continue;
        }
      }
    }
    for (const std::int64_t stop = std::min(dim, i + kStep); i < stop; ++i) {
      const C value = static_cast<C>(x[i]);
      if (held == k && !before(value, static_cast<C>(values[k - 1]))) continue;
      std::int64_t at = held < k ? held++ : k - 1;
      for (; at > 0 && before(value, static_cast<C>(values[at - 1])); --at) {
        values[at] = values[at - 1];
        indices[at] = indices[at - 1];
      }
      values[at] = x[i];
      indices[at] = static_cast<std::int32_t>(i);
    }
  }
}

template <typename C, typename T>
void sort_part(std::int64_t dim, std::int64_t k, const T* x, T* values, std::int32_t* indices) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(dim));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [x](std::int32_t a, std::int32_t b) {
    const C va = static_cast<C>(x[a]), vb = static_cast<C>(x[b]);
    return before(va, vb) || (!before(vb, va) && a < b);
  });
  for (std::int64_t i = 0; i < k; ++i) {
    indices[i] = order[static_cast<std::size_t>(i)];
    values[i] = x[indices[i]];
  }
}

constexpr std::int64_t kInsertUpTo = 64;

template <typename T>
void top_k_rows(std::int64_t rows, std::int64_t dim, std::int64_t k, const T* x, T* values,
                std::int32_t* indices) {
  using C = compute_t<T>;
  if (k == 0) return;
  core::parallel_for(rows, [&](std::int64_t row) {
    const auto select = k <= kInsertUpTo ? insert_scan<C, T> : sort_part<C, T>;
    select(dim, k, x + row * dim, values + row * k, indices + row * k);
  });
}

}  // namespace

template <>
void top_k(std::int64_t rows, std::int64_t dim, std::int64_t k, const float* x, float* values,
           std::int32_t* indices) {
  top_k_rows(rows, dim, k, x, values, indices);
}
template <>
void top_k(std::int64_t rows, std::int64_t dim, std::int64_t k, const bfloat16* x, bfloat16* values,
           std::int32_t* indices) {
  top_k_rows(rows, dim, k, x, values, indices);
}
template <>
void top_k(std::int64_t rows, std::int64_t dim, std::int64_t k, const double* x, double* values,
           std::int32_t* indices) {
  top_k_rows(rows, dim, k, x, values, indices);
}

}  // namespace headway::inline v1::kernels
