#pragma once
#include <cstdint>

#include <headway/core/export.h>
#include <headway/kernels/dropout.h>
#include <headway/kernels/precision.h>

/// Layer and root-mean-square normalization of rows, fused with the residual addition and dropout before
/// them.
namespace headway::inline v1::kernels {

/// s = residual + dropout(x), x̂ = (s - mean)·rstd, output = x̂·weight + bias, with rstd = 1/sqrt(var + eps)
/// (rms: mean is 0 and var the mean of squares). Statistics are of s as stored, so that the backward pass
/// sees the same rows.
template <typename T>
struct NormForward {
  std::int64_t rows = 0, dim = 0;
  const T* x = nullptr;
  const T* residual = nullptr;  ///< may be null
  const compute_t<T>* weight = nullptr;
  const compute_t<T>* bias = nullptr;  ///< may be null
  double eps = 1e-5;
  bool rms = false;
  Dropout dropout;
  T* sum = nullptr;  ///< s; null when there is neither residual nor dropout (s is x)
  T* output = nullptr;
  compute_t<T>* mean = nullptr;  ///< [rows]; null for rms
  compute_t<T>* rstd = nullptr;  ///< [rows]
};
template <typename T>
void norm_forward(const NormForward<T>& args);

/// With g = d_output·weight: ds = rstd·(g - mean(g) - x̂·mean(g·x̂)) + d_sum (rms: without mean(g)),
/// d_weight = Σ_rows d_output·x̂, d_bias = Σ_rows d_output.
template <typename T>
struct NormBackward {
  std::int64_t rows = 0, dim = 0;
  const T* s = nullptr;
  const compute_t<T>* mean = nullptr;  ///< null for rms
  const compute_t<T>* rstd = nullptr;
  const compute_t<T>* weight = nullptr;
  const T* d_output = nullptr;
  const T* d_sum = nullptr;  ///< may be null
  Dropout dropout;
  T* d_s = nullptr;  ///< the gradient of s, and of the residual; may be null
  T* d_x = nullptr;  ///< d_s through the dropout; may be null
  compute_t<T>* d_weight = nullptr;
  compute_t<T>* d_bias = nullptr;
  compute_t<T>* partials =
      nullptr;  ///< workspace [2·norm_blocks(rows), dim]: each block's d_weight and d_bias
};
template <typename T>
void norm_backward(const NormBackward<T>& args);

/// Rows are cut in blocks of one size, a function of their number alone; partial sums are added in block
/// order.
inline std::int64_t norm_block_rows(std::int64_t rows) { return rows < 512 ? 8 : (rows + 63) / 64; }
inline std::int64_t norm_blocks(std::int64_t rows) {
  return (rows + norm_block_rows(rows) - 1) / norm_block_rows(rows);
}

}  // namespace headway::inline v1::kernels
