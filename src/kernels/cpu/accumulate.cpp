#include <headway/kernels/accumulate.h>

#include <headway/core/parallel.h>

namespace headway::inline v1::kernels {
namespace {
template <typename T>
void add(T* into, const T* other, std::int64_t count) {
  core::parallel_ranges(count, 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if constexpr (sizeof(T) == 2) {
        into[i] = T(static_cast<float>(into[i]) + static_cast<float>(other[i]));
      } else {
        into[i] += other[i];
      }
    }
  });
}
}  // namespace

void accumulate(DType dtype, void* into, const void* other, std::int64_t count) {
  switch (dtype) {
    case DType::float32:
      return add(static_cast<float*>(into), static_cast<const float*>(other), count);
    case DType::float64:
      return add(static_cast<double*>(into), static_cast<const double*>(other), count);
    case DType::bfloat16:
      return add(static_cast<bfloat16*>(into), static_cast<const bfloat16*>(other), count);
    case DType::float16:
      return add(static_cast<float16*>(into), static_cast<const float16*>(other), count);
    default:
      return;  // integers have no gradients
  }
}

}  // namespace headway::inline v1::kernels
