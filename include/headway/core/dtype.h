#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1 {

enum class DType : std::uint8_t { float32, float64, bfloat16, float16, int32, int64, boolean };

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
    case DType::int64:
      return 8;
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::bfloat16:
    case DType::float16:
      return 2;
    case DType::boolean:
      return 1;
  }
  return 0;
}
/// "float32", "bfloat16", … "bool".
HEADWAY_API std::string_view name_of(DType dtype);
HEADWAY_API bool is_floating(DType dtype);

/// The upper half of a float32: 8 exponent bits, 7 fraction bits. Conversion from float rounds to nearest
/// even.
struct bfloat16 {
  std::uint16_t bits = 0;
  bfloat16() = default;
  explicit bfloat16(float value) : bits(round_from(value)) {}
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

 private:
  static std::uint16_t round_from(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = word + 0x7fffu + ((word >> 16) & 1u);
    // A NaN stays a NaN: rounding could carry its payload into infinity.
    const bool nan = (word & 0x7fffffffu) > 0x7f800000u;
    return static_cast<std::uint16_t>(nan ? (word >> 16) | 0x40u : rounded >> 16);
  }
};

/// IEEE 754 binary16, for storage. Conversion from float rounds to nearest even.
struct HEADWAY_API float16 {
  std::uint16_t bits = 0;
  float16() = default;
  explicit float16(float value);
  explicit operator float() const;
};

template <typename T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::float64;
};
template <>
struct dtype_of<bfloat16> {
  static constexpr DType value = DType::bfloat16;
};
template <>
struct dtype_of<float16> {
  static constexpr DType value = DType::float16;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct dtype_of<std::int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct dtype_of<bool> {
  static constexpr DType value = DType::boolean;
};
template <typename T>
inline constexpr DType dtype_v = dtype_of<T>::value;

}  // namespace headway::inline v1
