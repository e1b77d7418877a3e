#pragma once
#include <span>
#include <vector>

#include <headway/core/generator.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

HEADWAY_API Tensor zeros(const Shape& shape, DType dtype = DType::float32, Device device = Device::cpu);
HEADWAY_API Tensor ones(const Shape& shape, DType dtype = DType::float32, Device device = Device::cpu);
HEADWAY_API Tensor full(const Shape& shape, double value, DType dtype = DType::float32,
                        Device device = Device::cpu);
/// Normal numbers of mean 0 and deviation 1 (Box-Muller over Philox); one call of the generator.
HEADWAY_API Tensor randn(const Shape& shape, Generator& generator, DType dtype = DType::float32);
/// Uniform numbers in [low, high); one call of the generator.
HEADWAY_API Tensor uniform(const Shape& shape, Generator& generator, double low, double high,
                           DType dtype = DType::float32);
HEADWAY_API Tensor arange(std::int64_t count, DType dtype = DType::int64);
/// Copies values into a new tensor. Error(shape) when their number is not shape's.
template <typename T>
Tensor from(std::span<const T> values, const Shape& shape);
template <typename T>
Tensor from(const std::vector<T>& values, const Shape& shape) {
  return from<T>(std::span<const T>(values), shape);
}

namespace core {
HEADWAY_API Tensor copy_from(const void* values, std::size_t count, DType dtype, const Shape& shape);
}
template <typename T>
Tensor from(std::span<const T> values, const Shape& shape) {
  return core::copy_from(values.data(), values.size(), dtype_v<T>, shape);
}

}  // namespace headway::inline v1
