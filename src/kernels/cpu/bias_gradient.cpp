#include <headway/kernels/gemm.h>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bias_gradient.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Columns of one unit: 256 bytes of float32 a row, four cache lines that the prefetcher follows.
constexpr std::int64_t kColumns = 64;

// One unit sums whole columns, rows in order: no partial sums, so no dependence on threads.
template <typename T>
void gradient_columns(const T* dy, const T* y, bool relu, std::int64_t rows, std::int64_t columns,
                      std::int64_t begin, std::int64_t end, T* dz, float* db) {
  float total[kColumns] = {};
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* in = dy + i * columns;
    if (relu) {
      const T* out = y + i * columns;
      T* target = dz + i * columns;
      for (std::int64_t j = begin; j < end; ++j) {
        const float value = static_cast<float>(out[j]) > 0.f ? static_cast<float>(in[j]) : 0.f;
        target[j] = T(value);
        total[j - begin] += value;
      }
    } else {
      for (std::int64_t j = begin; j < end; ++j) total[j - begin] += static_cast<float>(in[j]);
    }
  }
  if (db) {
    for (std::int64_t j = begin; j < end; ++j) db[j] = total[j - begin];
  }
}

void gradient_float(const float* dy, const float* y, bool relu, std::int64_t rows, std::int64_t columns,
                    std::int64_t begin, std::int64_t end, float* dz, float* db) {
  gradient_columns(dy, y, relu, rows, columns, begin, end, dz, db);
}
void gradient_bfloat16(const bfloat16* dy, const bfloat16* y, bool relu, std::int64_t rows,
                       std::int64_t columns, std::int64_t begin, std::int64_t end, bfloat16* dz, float* db) {
  gradient_columns(dy, y, relu, rows, columns, begin, end, dz, db);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(gradient_float);
HWY_EXPORT(gradient_bfloat16);
constexpr std::int64_t kUnitColumns = 64;
}  // namespace

void bias_gradient(DType dtype, const void* dy, const void* y, Epilogue epilogue, std::int64_t rows,
                   std::int64_t columns, void* dz, float* db) {
  const bool relu = epilogue == Epilogue::relu;
  core::parallel_ranges(columns, kUnitColumns, [&](std::int64_t begin, std::int64_t end) {
    if (dtype == DType::bfloat16) {
      HWY_DYNAMIC_DISPATCH(gradient_bfloat16)
      (static_cast<const bfloat16*>(dy), static_cast<const bfloat16*>(y), relu, rows, columns, begin, end,
       static_cast<bfloat16*>(dz), db);
    } else {
      HWY_DYNAMIC_DISPATCH(gradient_float)
      (static_cast<const float*>(dy), static_cast<const float*>(y), relu, rows, columns, begin, end,
       static_cast<float*>(dz), db);
    }
  });
}
}  // namespace headway::inline v1::kernels
#endif
