#pragma once
#include <initializer_list>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headway/core/error.h>
#include <headway/core/tensor.h>

/// What every op starts with: checks, dispatch by dtype, and handles outside the tape.
namespace headway::inline v1::detail {

/// Calls make.operator()<T>() with float, bfloat16 or double. Error(dtype) for others.
template <typename Make>
void with_floating(const char* operation, const Tensor& x, Make&& make) {
  switch (x.dtype()) {
    case DType::float32:
      return make.template operator()<float>();
    case DType::bfloat16:
      return make.template operator()<bfloat16>();
    case DType::float64:
      return make.template operator()<double>();
    default:
      fail(ErrorCode::dtype, operation,
           fmt::format("tensor is {}; want float32, bfloat16 or float64", x.describe()));
  }
}

inline void require_floating(const char* operation, const Tensor& x) {
  with_floating(operation, x, []<typename>() {});
}

/// meta when any of the tensors is: an op with one operand that has no elements has no elements to give.
inline Device device_of(std::initializer_list<Tensor> tensors) {
  for (const Tensor& tensor : tensors) {
    if (tensor.defined() && tensor.device() == Device::meta) return Device::meta;
  }
  return Device::cpu;
}
inline bool is_meta(std::initializer_list<Tensor> tensors) { return device_of(tensors) == Device::meta; }

/// x outside the tape, contiguous: itself, or a copy.
HEADWAY_API Tensor plain(const Tensor& x);

/// The same elements under another contiguous shape; x is contiguous. No gradient flows.
inline Tensor shaped(const Tensor& x, const Shape& shape) {
  return x.strided(shape, contiguous_strides(shape), x.offset());
}

/// Elements per row and rows of a tensor seen as rows of its last dimension.
struct Rows {
  std::int64_t rows, dim;
};
inline Rows rows_of(const char* operation, const Tensor& x) {
  if (x.rank() == 0)
    fail(ErrorCode::shape, operation, fmt::format("tensor is {}; want at least one dimension", x.describe()));
  const std::int64_t dim = x.size(-1);
  return {dim ? x.numel() / dim : 0, dim};
}

/// What statistics and parameters of an op on this dtype are kept in.
inline DType compute_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

/// Sums x over the dimensions along which `shape` is 1 or missing: the transpose of broadcasting `shape` to
/// x.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace headway::inline v1::detail
