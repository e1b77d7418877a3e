#pragma once
#include <cstddef>
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/core/export.h>

/// Dense products through oneDNN. We cut the work ourselves, by shape alone, and run each piece on one
/// thread: the bits do not depend on the number of threads (oneDNN's own cuts do), and pieces are primitives
/// of few shapes.
namespace headway::inline v1::kernels {

enum class Epilogue { none, relu, gelu, gelu_tanh, silu };

/// C [m, n] = act(A [m, k] · B [k, n] + bias), or C += A·B.
struct GemmArgs {
  std::int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::float32;  ///< of A and B: float32 or bfloat16
  const void* a = nullptr;
  std::int64_t a_row = 0, a_col = 1;  ///< strides in elements; one of them 1. Rows that lie apart are slower
  const void* b = nullptr;
  std::int64_t b_row = 0, b_col = 1;  ///< not used when packed
  bool b_packed = false;              ///< b is the result of pack()
  void* c = nullptr;
  std::int64_t c_row = 0;          ///< stride of C's rows; its columns are adjacent
  DType c_dtype = DType::float32;  ///< float32, or A's
  const float* bias = nullptr;     ///< [n]
  Epilogue epilogue = Epilogue::none;
  bool accumulate = false;  ///< C += A·B; no bias or epilogue then
};
/// Sums over k in float32, in one order for any number of threads. Where oneDNN has no bfloat16 products
/// (below AVX-512), operands are widened first: the same numbers, no faster than float32.
HEADWAY_API void gemm(const GemmArgs& args);

/// Bytes of B [k, n] reordered for oneDNN's kernels.
HEADWAY_API std::size_t packed_bytes(DType dtype, std::int64_t k, std::int64_t n);
/// Reorders (and converts, float32 to bfloat16) B [k, n] with the given strides.
HEADWAY_API void pack(DType source_dtype, const void* b, std::int64_t b_row, std::int64_t b_col, DType dtype,
                      std::int64_t k, std::int64_t n, void* packed);

/// dW [outputs, inputs] = dYᵀ·X, float32, whole.
struct WeightGradientArgs {
  std::int64_t tokens = 0, outputs = 0, inputs = 0;  ///< tokens at least 1
  DType dtype = DType::float32;                      ///< of dY and X: float32 or bfloat16
  const void* dy = nullptr;
  std::int64_t dy_row = 0;  ///< stride of rows; columns are adjacent
  const void* x = nullptr;
  std::int64_t x_row = 0;
  float* dw = nullptr;
};
HEADWAY_API std::size_t weight_gradient_workspace(const WeightGradientArgs& args);
/// Adds over tokens in pieces of fixed length, in order. oneDNN would cut a transposed product by threads.
HEADWAY_API void weight_gradient(const WeightGradientArgs& args, void* workspace);

/// dZ = dY·act'(…) and db = column sums of dZ, in one pass. y is the activation's output, used for relu alone
/// (d relu = [y > 0]); gelu and silu are not fused in training. Rows of dy, y and dz are c columns, adjacent.
/// dz may be null for Epilogue::none, db may be null.
HEADWAY_API void bias_gradient(DType dtype, const void* dy, const void* y, Epilogue epilogue,
                               std::int64_t rows, std::int64_t columns, void* dz, float* db);

namespace reference {
/// Plain loops in float64: C [m, n] = A·B (+ C when accumulate).
HEADWAY_API void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const double* a, std::int64_t a_row,
                      std::int64_t a_col, const double* b, std::int64_t b_row, std::int64_t b_col, double* c,
                      std::int64_t c_row, bool accumulate);
}  // namespace reference
}  // namespace headway::inline v1::kernels
