#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include <headway/attention/position.h>
#include <headway/core/dtype.h>
#include <headway/core/export.h>

/// Rotary position embedding of heads (Su et al. 2021, "RoFormer", eq. 34).
namespace headway::inline v1::kernels {

/// A row at position p turns pair m of each of its heads, columns a and b, by φ = p·rope.rate(m, dims):
///   y_a = f·(x_a·cos φ - x_b·sin φ)      y_b = f·(x_b·cos φ + x_a·sin φ)      f = rope.factor
/// and copies columns dims … dim - 1. That is f times an orthogonal R(p): the gradient of x is f·Rᵀ = f·R(-p)
/// of the gradient of y, which is this function with `inverse`.
template <typename T>
struct RotaryArgs {
  std::int64_t batch = 0, length = 0, heads = 0, dim = 0;  ///< B, T, H, D; packed: B = 1, T = N
  std::int64_t dims = 0;                                   ///< columns that turn, even
  RopeOptions rope = {};
  bool inverse = false;
  const T* x = nullptr;
  std::int64_t sequence = 0, row = 0, head = 0;  ///< strides of x in elements; that of columns is 1
  T* y = nullptr;                                ///< contiguous [B, T, H, D]
  /// float64 computes the angles of each row from its position, [B·T]. The others take cosines and sines from
  /// line lines[row] of rotary_table().
  const std::int64_t* positions = nullptr;
  const float* table = nullptr;
  const std::int32_t* lines = nullptr;
};
template <typename T>
void rotary(const RotaryArgs<T>& args);

/// Floats of one line of the table. Halves: cosines, then sines, dims/2 each. Interleaved: dims each, every
/// pair's twice, its first sine negated, so that columns are multiplied as they stand.
constexpr std::int64_t rotary_line(RopePairs pairs, std::int64_t dims) {
  return pairs == RopePairs::half_split ? dims : 2 * dims;
}
/// One line for each position: angles in float64, cosines and sines rounded to float32 once. What a line
/// holds depends on its position alone, whatever the others are.
HEADWAY_API void rotary_table(const RopeOptions& rope, std::int64_t dims,
                              std::span<const std::int64_t> positions, float* table, double* workspace);
/// Doubles that rotary_table() works in.
HEADWAY_API std::size_t rotary_table_workspace(std::int64_t dims, std::size_t positions);

}  // namespace headway::inline v1::kernels
