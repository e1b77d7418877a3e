#pragma once
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>

#include <fmt/format.h>

namespace headway::inline v1::train {

/// The numbers that an option takes. NaN lies in no range, and infinity only where the range reaches it.
struct Range {
  enum class End { closed, open };
  double low = 0;
  double high = std::numeric_limits<double>::max();
  End low_end = End::closed, high_end = End::closed;

  template <typename T>
  bool holds(T number) const {
    const auto x = static_cast<double>(number);
    return (low_end == End::open ? x > low : x >= low) && (high_end == End::open ? x < high : x <= high);
  }
  /// "a whole number from 1 up", "a number above 0 and up to 1".
  template <typename T>
  std::string wanted() const {
    std::string text = std::integral<T> ? "a whole number " : "a number ";
    text += fmt::format("{} {}", low_end == End::open ? "above" : "from", low);
    if (high >= kUnbounded) return text + (low_end == End::open ? "" : " up");
    return text + fmt::format(" {} {}", high_end == End::open ? "to below" : "to", high);
  }

  static constexpr double kUnbounded = 1e15;
};

/// Counts that become sizes of arrays: beyond, no machine has the memory, and products of them would
/// overflow.
inline constexpr double kLargestSize = 1 << 30;

/// [0, ∞)
inline constexpr Range from_zero() { return {}; }
/// (0, ∞)
inline constexpr Range above_zero() { return {.low_end = Range::End::open}; }
/// Whole numbers.
inline constexpr Range whole(double low, double high = kLargestSize) { return {.low = low, .high = high}; }
inline constexpr Range any_seed() { return {.low = 0, .high = 0x1p64}; }
/// [0, 1)
inline constexpr Range share() { return {.low = 0, .high = 1, .high_end = Range::End::open}; }

}  // namespace headway::inline v1::train
