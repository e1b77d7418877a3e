#pragma once
#include <cstddef>
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/core/export.h>
#include <headway/kernels/gemm.h>

/// Products for inference, whose rows do not depend on their number. Y [m, n] = act(X [m, k]·W [n, k]ᵀ + b),
/// where every element is one chain of fused multiply-adds over k in increasing order, begun at 0, with the
/// bias added and the activation applied last. So a row has the same bits alone and in any batch, at any
/// place, for any number of threads; and a NaN or an infinity in one row reaches no other.
///
/// In bfloat16 a link of the chain is the sum of two products, of elements 2i and 2i + 1: by the processor's
/// own instruction where it has one (AVX512_BF16's VDPBF16PS, which takes denormal numbers for 0), else by
/// two multiply-adds in float32. Below AVX2 a multiply-add is a product and a sum, each rounded. The bits are
/// promised for one build on one kind of processor.
namespace headway::inline v1::kernels {

/// Outputs (rows of W) that lie side by side in the packed form: [⌈n/32⌉][k][32] of float32, or
/// [⌈n/32⌉][⌈k/2⌉][32][2] of bfloat16, zeros where n or k ends. It depends neither on m nor on the processor.
inline constexpr std::int64_t kPackedOutputs = 32;

/// Bytes of W [n, k] packed as `dtype`, float32 or bfloat16.
HEADWAY_API std::size_t packed_weight_bytes(DType dtype, std::int64_t n, std::int64_t k);

/// Rows of W to be packed.
struct PackWeightArgs {
  std::int64_t n = 0, k = 0;  ///< of the whole of W
  DType dtype = DType::float32;
  void* packed = nullptr;
  std::int64_t first = 0, rows = 0;  ///< of W, that `w` holds; first is a multiple of kPackedOutputs, and so
                                     ///< is rows, but at W's end
  DType w_dtype = DType::float32;    ///< float32, bfloat16 or float16; rounded to `dtype`
  const void* w = nullptr;
  std::int64_t w_row = 0, w_col = 1;  ///< strides in elements; faster where w_col is 1
};
HEADWAY_API void pack_weight(const PackWeightArgs& args);

/// Row `row` of W [n, k] from the packed form: what was packed, exact. out [k].
HEADWAY_API void packed_row(DType dtype, const void* packed, std::int64_t k, std::int64_t row, float* out);

struct RowGemmArgs {
  std::int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::float32;  ///< of X and the packed W: float32 or bfloat16
  const void* x = nullptr;
  std::int64_t x_row = 0;   ///< stride of X's rows in elements; its columns are adjacent
  const void* w = nullptr;  ///< packed
  void* y = nullptr;
  std::int64_t y_row = 0;
  DType y_dtype = DType::float32;  ///< float32 or bfloat16
  const float* bias = nullptr;     ///< [n]
  Epilogue epilogue = Epilogue::none;
};
/// Few rows are cut by outputs, so that all threads read W from one row on, and W is read once for all rows.
HEADWAY_API void row_gemm(const RowGemmArgs& args);

}  // namespace headway::inline v1::kernels
