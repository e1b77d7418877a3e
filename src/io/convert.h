#pragma once
// Runs of elements between floating types. Numbers that a wider type came from go back to the same bits, NaNs
// and their payloads too. Plain integer arithmetic: the compiler makes SIMD of the loops on any processor.
#include <bit>
#include <cstdint>

#include <headway/core/dtype.h>

namespace headway::inline v1::io {

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  // A product with 2^112 moves the exponent of normal and subnormal numbers alike, exactly.
  const float finite = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const std::uint32_t special = 0x7f800000u | (magnitude << 13);
  return std::bit_cast<float>(sign | (magnitude >= 0x7c00u ? special : std::bit_cast<std::uint32_t>(finite)));
}

inline std::uint16_t float_to_half(float value) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  if ((word & 0x7fffffffu) <= 0x7f800000u) return float16(value).bits;
  const std::uint32_t payload = (word >> 13) & 0x3ffu;
  return static_cast<std::uint16_t>((word >> 16 & 0x8000u) | 0x7c00u | (payload ? payload : 0x200u));
}

inline float bfloat_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t float_to_bfloat(float value) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  const bool nan_with_payload = (word & 0x7fffffffu) > 0x7f800000u && (word & 0x7f0000u) != 0;
  return nan_with_payload ? static_cast<std::uint16_t>(word >> 16) : bfloat16(value).bits;
}

}  // namespace headway::inline v1::io
