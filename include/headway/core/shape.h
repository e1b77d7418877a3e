#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// A short list of sizes or strides, held in place: at most 8 dimensions, no allocation.
class HEADWAY_API Shape {
 public:
  static constexpr int max_rank = 8;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  /// Dimension i; negative counts from the end. Errors when out of range.
  std::int64_t operator[](int i) const { return dims_[index(i)]; }
  std::int64_t& operator[](int i) { return dims_[index(i)]; }
  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }
  std::int64_t back() const { return (*this)[-1]; }
  void push_back(std::int64_t dim);
  /// Product of the dimensions; 1 for rank 0.
  std::int64_t numel() const;
  bool operator==(const Shape& other) const;
  /// "[2, 128, 512]".
  std::string str() const;

 private:
  std::size_t index(int i) const;
  std::array<std::int64_t, max_rank> dims_{};
  int rank_ = 0;
};

using Strides = Shape;

/// Row-major strides, in elements.
HEADWAY_API Strides contiguous_strides(const Shape& shape);
/// The shape that NumPy's rules give for a and b together; Error(shape) naming `operation` when they do not
/// fit.
HEADWAY_API Shape broadcast_shapes(std::string_view operation, const Shape& a, const Shape& b);

}  // namespace headway::inline v1
