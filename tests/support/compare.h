#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <headway/ops/views.h>

namespace headway::testing {

inline std::vector<double> values_of(const Tensor& x) {
  return cast(x.detach(), DType::float64).to_vector<double>();
}

/// Half the distance from 1 to the next number.
inline double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::bfloat16:
      return 0x1p-8;
    case DType::float16:
      return 0x1p-11;
    case DType::float32:
      return 0x1p-24;
    default:
      return 0x1p-53;
  }
}

/// Equal shape, dtype and bits.
inline void expect_bitwise_equal(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.defined(), want.defined()) << what;
  if (!got.defined()) return;
  ASSERT_EQ(got.describe(), want.describe()) << what;
  const Tensor a = contiguous(got.detach()), b = contiguous(want.detach());
  const auto width = size_of(a.dtype());
  const auto* pa = static_cast<const char*>(a.raw());
  const auto* pb = static_cast<const char*>(b.raw());
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const auto at = static_cast<std::size_t>(i) * width;
    ASSERT_EQ(std::memcmp(pa + at, pb + at, width), 0)
        << what << ": element " << i << " of " << got.describe();
  }
}

/// How far a result may be from float64's. Every element carries the rounding of its own storage. Besides,
/// its error is a sum of roundings of intermediate values no larger than the largest result: `roundings` of
/// them in the op's dtype (values it stores), `steps` in float32 (its arithmetic). Where results are
/// differences of larger values, `floor` is the size of those.
struct Tolerance {
  double roundings = 0;
  double steps = 8;
  double floor = 0;
};

/// `dtype` is what the op worked in (the result itself may be float32: the gradient of a parameter).
inline void expect_close(const Tensor& got, const Tensor& want, DType dtype, Tolerance tolerance,
                         const std::string& what) {
  ASSERT_EQ(got.shape().str(), want.shape().str()) << what;
  const auto a = values_of(got), b = values_of(want);
  double largest = tolerance.floor;
  for (const double value : b) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  const double single = dtype == DType::float64 ? 0x1p-53 : 0x1p-24;
  const double absolute = (tolerance.roundings * unit_roundoff(dtype) + tolerance.steps * single) * largest;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double allowed = absolute + unit_roundoff(got.dtype()) * std::abs(b[i]);
    ASSERT_LE(std::abs(a[i] - b[i]), allowed)
        << what << ": element " << i << " of " << got.describe() << " is " << a[i] << ", want " << b[i];
  }
}

}  // namespace headway::testing
