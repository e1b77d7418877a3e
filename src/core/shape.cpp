#include <headway/core/shape.h>

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headway/core/error.h>

namespace headway::inline v1 {

Shape::Shape(std::span<const std::int64_t> dims) {
  for (const std::int64_t dim : dims) push_back(dim);
}

std::size_t Shape::index(int i) const {
  const int positive = i < 0 ? i + rank_ : i;
  if (positive < 0 || positive >= rank_) {
    fail(ErrorCode::shape, "shape", fmt::format("dimension {} of a shape with {} dimensions", i, rank_));
  }
  return static_cast<std::size_t>(positive);
}

void Shape::push_back(std::int64_t dim) {
  if (rank_ == max_rank) fail(ErrorCode::shape, "shape", fmt::format("more than {} dimensions", max_rank));
  dims_[static_cast<std::size_t>(rank_++)] = dim;
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  for (const std::int64_t dim : *this) {
    if (__builtin_mul_overflow(product, dim, &product)) {
      fail(ErrorCode::shape, "shape", fmt::format("{} has more elements than 64 bits count", str()));
    }
  }
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string Shape::str() const { return fmt::format("[{}]", fmt::join(begin(), end(), ", ")); }

Strides contiguous_strides(const Shape& shape) {
  Strides strides = shape;
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

Shape broadcast_shapes(std::string_view operation, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank());
    const int ib = i - (rank - b.rank());
    const std::int64_t da = ia < 0 ? 1 : a[ia];
    const std::int64_t db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1) {
      fail(ErrorCode::shape, operation,
           fmt::format("shapes {} and {} do not broadcast: {} against {} in dimension {} from the end; want "
                       "equal, or 1",
                       a.str(), b.str(), da, db, rank - i));
    }
    out.push_back(da == 1 ? db : da);
  }
  return out;
}

}  // namespace headway::inline v1
