#pragma once
#include <cmath>
#include <cstdint>

#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/core/tensor.h>
#include <headway/ops/views.h>

/// Random tensors, and views of them that are not contiguous.
namespace headway::testing {

/// Normal numbers of the given deviation; the same for the same seed.
inline Tensor random(const Shape& shape, std::uint64_t seed, DType dtype = DType::float64,
                     double deviation = 1) {
  Generator generator(seed);
  Tensor out = randn(shape, generator, DType::float64);
  double* values = out.data<double>();
  for (std::int64_t i = 0; i < out.numel(); ++i) values[i] *= deviation;
  return cast(out, dtype);
}

/// Integers in [0, bound).
inline Tensor random_ids(const Shape& shape, std::int64_t bound, std::uint64_t seed) {
  Generator generator(seed);
  Tensor out = Tensor::empty(shape, DType::int32);
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    out.data<std::int32_t>()[i] =
        static_cast<std::int32_t>(generator.below(static_cast<std::uint64_t>(bound)));
  }
  return out;
}

/// The same values in rows that lie 3 elements apart and start at the second element: the last stride is 1.
inline Tensor padded_rows(const Tensor& x) {
  if (x.rank() == 0) return x;
  Shape wide = x.shape();
  wide[-1] += 3;
  Tensor storage = full(wide, 77, x.dtype(), x.device());
  Tensor view = storage.strided(x.shape(), contiguous_strides(wide), 1);
  if (x.device() != Device::meta && x.numel()) copy_into(view, x.detach());
  return view;
}

/// The same values in every other element, so that no stride is 1.
inline Tensor every_other(const Tensor& x) {
  if (x.rank() == 0) return x;
  Shape wide = x.shape();
  wide.push_back(2);
  Strides strides = contiguous_strides(x.shape());
  for (int i = 0; i < strides.rank(); ++i) strides[i] *= 2;
  Tensor storage = full(wide, 77, x.dtype(), x.device());
  Tensor view = storage.strided(x.shape(), strides, 0);
  if (x.device() != Device::meta && x.numel()) copy_into(view, x.detach());
  return view;
}

}  // namespace headway::testing
