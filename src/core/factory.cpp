#include <headway/core/factory.h>

#include <cmath>
#include <cstring>
#include <numbers>

#include <fmt/format.h>

#include <headway/core/parallel.h>

namespace headway::inline v1 {
namespace {

constexpr std::int64_t kGrain = 1 << 14;

template <typename T>
T convert(double value) {
  if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>) {
    return T(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}

// Calls make.operator()<T>() with the C++ type of dtype.
template <typename Make>
void with_type(DType dtype, Make&& make) {
  switch (dtype) {
    case DType::float32:
      return make.template operator()<float>();
    case DType::float64:
      return make.template operator()<double>();
    case DType::bfloat16:
      return make.template operator()<bfloat16>();
    case DType::float16:
      return make.template operator()<float16>();
    case DType::int32:
      return make.template operator()<std::int32_t>();
    case DType::int64:
      return make.template operator()<std::int64_t>();
    case DType::boolean:
      return make.template operator()<bool>();
  }
}

// Element i gets value(i); value must depend on i alone.
template <typename Value>
Tensor generate(const Shape& shape, DType dtype, Device device, Value value) {
  Tensor out = Tensor::empty(shape, dtype, device);
  if (device == Device::meta) return out;
  with_type(dtype, [&]<typename T>() {
    T* data = out.data<T>();
    core::parallel_ranges(out.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) data[i] = convert<T>(value(i));
    });
  });
  return out;
}

}  // namespace

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  return generate(shape, dtype, device, [value](std::int64_t) { return value; });
}
Tensor zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }
Tensor ones(const Shape& shape, DType dtype, Device device) { return full(shape, 1, dtype, device); }

Tensor randn(const Shape& shape, Generator& generator, DType dtype) {
  const RandomCall call = generator.next();
  return generate(shape, dtype, Device::cpu, [call](std::int64_t i) {
    const auto words = call.words(static_cast<std::uint64_t>(i / 2));
    const double u = (static_cast<double>(words[0]) + 0.5) * 0x1p-32;
    const double angle = 2 * std::numbers::pi * (static_cast<double>(words[1]) * 0x1p-32);
    const double radius = std::sqrt(-2 * std::log(u));
    return radius * (i % 2 ? std::sin(angle) : std::cos(angle));
  });
}

Tensor uniform(const Shape& shape, Generator& generator, double low, double high, DType dtype) {
  const RandomCall call = generator.next();
  return generate(shape, dtype, Device::cpu, [=](std::int64_t i) {
    const auto words = call.words(static_cast<std::uint64_t>(i));
    return low + (high - low) * (static_cast<double>(words[0]) * 0x1p-32);
  });
}

Tensor arange(std::int64_t count, DType dtype) {
  return generate({count}, dtype, Device::cpu, [](std::int64_t i) { return static_cast<double>(i); });
}

namespace core {
Tensor copy_from(const void* values, std::size_t count, DType dtype, const Shape& shape) {
  if (shape.numel() != static_cast<std::int64_t>(count)) {
    fail(ErrorCode::shape, "from",
         fmt::format("{} values for shape {}; want {}", count, shape.str(), shape.numel()));
  }
  Tensor out = Tensor::empty(shape, dtype);
  if (count) std::memcpy(out.raw(), values, count * size_of(dtype));
  return out;
}
}  // namespace core
}  // namespace headway::inline v1
