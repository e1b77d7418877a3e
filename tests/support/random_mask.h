#pragma once
#include <algorithm>
#include <random>
#include <vector>

#include <headway/attention/mask.h>
#include <headway/attention/tile_plan.h>
#include <headway/core/factory.h>

namespace headway::testing {

/// A mask of every kind that fits the shape, joined by &, | and ! up to `depth`.
inline Mask random_mask(std::mt19937& random, const PlanShape& shape, int depth) {
  const auto number = [&](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };
  if (depth > 0) {
    switch (number(0, 5)) {
      case 0:
        return random_mask(random, shape, depth - 1) & random_mask(random, shape, depth - 1);
      case 1:
        return random_mask(random, shape, depth - 1) | random_mask(random, shape, depth - 1);
      case 2:
        return !random_mask(random, shape, depth - 1);
      default:
        break;
    }
  }
  const Shape pairs = shape.pairs();
  const Align align = number(0, 1) ? Align::bottom_right : Align::top_left;
  const auto booleans = [&](std::int64_t queries, std::int64_t keys) {
    const Shape sizes{number(0, 1) ? pairs[0] : 1, number(0, 1) ? pairs[1] : 1, number(0, 3) ? queries : 1,
                      number(0, 3) ? keys : 1};
    const Tensor out = zeros(sizes, DType::boolean);
    const auto dense = number(1, 9);
    for (std::int64_t i = 0; i < out.numel(); ++i) out.data<bool>()[i] = number(0, 9) < dense;
    return out;
  };
  switch (number(0, 13)) {
    case 0:
      return Mask::causal(align);
    case 1:
      return Mask::window(number(0, 70), number(0, 70), align);
    case 2: {
      std::vector<std::int64_t> lengths;
      for (const auto& sequence : shape.sequences) lengths.push_back(number(0, sequence.keys));
      return Mask::padding(lengths);
    }
    case 3: {
      std::vector<std::int64_t> offsets{0};
      for (auto n = number(1, 4); n > 0; --n) offsets.push_back(offsets.back() + number(0, 80));
      return Mask::documents(offsets);
    }
    case 4:
      return Mask::allow(booleans(pairs[2], pairs[3]));
    case 5:
      return Mask::deny(booleans(pairs[2], pairs[3]));
    case 6:
      return Mask::dilated(number(0, 9), number(0, 9), number(1, 20), align);
    case 7:
      return Mask::strided(number(1, 50));
    case 8: {
      const auto stride = number(1, 50);
      return Mask::fixed(stride, number(0, stride));
    }
    case 9:
      return Mask::global({number(0, 100), number(0, 200)});
    case 10:
      return Mask::random_blocks(number(1, 70), number(0, 3), static_cast<std::uint64_t>(number(0, 99)));
    case 11:
      return Mask::big_bird({number(1, 40), 2 * number(0, 1) + 1, number(0, 2), number(0, 2),
                             static_cast<std::uint64_t>(number(0, 99))});
    case 12: {
      const auto block = number(1, 70);
      return Mask::blocks(booleans((pairs[2] + block - 1) / block, (pairs[3] + block - 1) / block), block);
    }
    default: {
      std::vector<Mask> heads;
      for (std::int64_t h = 0; h < shape.heads; ++h) heads.push_back(random_mask(random, shape, 0));
      return Mask::per_head(heads);
    }
  }
}

}  // namespace headway::testing
