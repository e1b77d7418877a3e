#pragma once
#include <cstdint>

#include <headway/core/shape.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// One query and one key, and where they stand: what a mask decides about.
struct PairPosition {
  std::int64_t sequence = 0, head = 0;  ///< b and h
  std::int64_t query = 0, key = 0;      ///< i and j, within their sequence
  std::int64_t queries = 0, keys = 0;   ///< T and S of that sequence
};

/// Element (b, h, i, j) of something broadcast to [B, H, T, S]: strides of 0 where it has one element.
struct PairStrides {
  std::int64_t batch = 0, head = 0, query = 0, key = 0;
  std::int64_t at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return b * batch + h * head + i * query + j * key;
  }
};

/// Strides of x broadcast to target [B, H, T, S]; Error(shape) from attention naming `argument`, with a hint
/// where the shape is transposed.
HEADWAY_API PairStrides broadcast_pairs(const char* argument, const Tensor& x, const Shape& target);

}  // namespace headway::inline v1
