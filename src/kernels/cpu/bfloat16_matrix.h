#pragma once
#include <cstdint>

#include <headway/core/dtype.h>

namespace headway::inline v1::kernels {

/// out [rows, columns], dense, of bfloat16 elements at strides `row` and `column`.
inline void widen_matrix(const bfloat16* in, std::int64_t row, std::int64_t column, std::int64_t rows,
                         std::int64_t columns, float* out) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[i * columns + j] = static_cast<float>(in[i * row + j * column]);
    }
  }
}

/// Rows of bfloat16, `row` apart, of a dense [rows, columns].
inline void narrow_matrix(const float* in, std::int64_t rows, std::int64_t columns, bfloat16* out,
                          std::int64_t row) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) out[i * row + j] = bfloat16(in[i * columns + j]);
  }
}

}  // namespace headway::inline v1::kernels
