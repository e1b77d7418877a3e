#pragma once
#include <cstddef>
#include <cstdint>
#include <tuple>

#include <headway/core/dtype.h>
#include <headway/kernels/gemm.h>

// What gemm.cpp needs of oneDNN, in terms of our own.
namespace headway::inline v1::kernels::onednn {

// One product, C [m, n] = A [m, k]·B [k, n]: everything that makes its primitive differ from another.
struct Product {
  std::int64_t m, n, k, a_row, a_col, b_row, b_col, c_row;
  DType dtype, c_dtype;
  Epilogue epilogue;
  bool packed, bias, accumulate;
  auto tied() const {
    return std::tie(m, n, k, a_row, a_col, b_row, b_col, c_row, dtype, c_dtype, epilogue, packed, bias,
                    accumulate);
  }
  bool operator==(const Product& other) const { return tied() == other.tied(); }
};

/// Runs it on the calling thread.
void execute(const Product& product, const void* a, const void* b, const float* bias, void* c);

/// True when pieces of so many columns lie one after another in B [k, n] as packed, each as if packed alone.
bool columns_in_pieces(DType dtype, std::int64_t k, std::int64_t n, std::int64_t piece);

}  // namespace headway::inline v1::kernels::onednn
