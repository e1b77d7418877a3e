#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1::train {

/// The gradients of a list of parameters, in its order (undefined where none flowed), and their share of a
/// step's loss.
struct GradientSum {
  std::vector<Tensor> gradients = {};
  double loss = 0;
};

/// a += b, element by element; `b` is used up. Undefined stands for zeros.
HEADWAY_API void add_gradients(GradientSum& a, GradientSum&& b);

/// leaf(first) + … + leaf(first + count - 1), in a binary tree that is a function of `count` alone: the left
/// half, the larger one where count is odd, plus the right half. So where a power of two divides count, its
/// equal parts, summed each by itself and then in pairs, give the same bits. leaf is called in order, and at
/// most ⌈log2 count⌉ + 1 sums exist at a time.
HEADWAY_API GradientSum tree_sum(std::int64_t first, std::int64_t count,
                                 const std::function<GradientSum(std::int64_t)>& leaf);

struct NamedGradient {
  std::string name;
  Tensor parameter, gradient;  ///< gradient: undefined where none flowed
};

/// What a hook sees between the sum over the micro-batches and the clipping. It may write to gradients,
/// replace them, or take them away.
struct StepGradients {
  std::int64_t step = 0;  ///< that will be made with them: 1, 2, …
  double loss = 0;        ///< of the micro-batches of this process: its share of the step's mean
  std::vector<NamedGradient> gradients = {};
};
using GradientHook = std::function<void(StepGradients&)>;

}  // namespace headway::inline v1::train
