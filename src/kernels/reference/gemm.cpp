#include <headway/kernels/gemm.h>

namespace headway::inline v1::kernels::reference {

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const double* a, std::int64_t a_row,
          std::int64_t a_col, const double* b, std::int64_t b_row, std::int64_t b_col, double* c,
          std::int64_t c_row, bool accumulate) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double total = accumulate ? c[i * c_row + j] : 0;
      for (std::int64_t l = 0; l < k; ++l) total += a[i * a_row + l * a_col] * b[l * b_row + j * b_col];
      c[i * c_row + j] = total;
    }
  }
}

}  // namespace headway::inline v1::kernels::reference
