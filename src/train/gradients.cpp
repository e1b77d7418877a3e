#include <headway/train/gradients.h>

#include <fmt/format.h>

#include <headway/kernels/accumulate.h>

namespace headway::inline v1::train {

void add_gradients(GradientSum& a, GradientSum&& b) {
  if (a.gradients.size() != b.gradients.size()) {
    fail(ErrorCode::shape, "add_gradients",
         fmt::format("sums are of {} and {} gradients; want equal numbers", a.gradients.size(),
                     b.gradients.size()));
  }
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    Tensor& sum = a.gradients[i];
    Tensor extra = std::move(b.gradients[i]);
    if (!extra.defined()) continue;
    if (!sum.defined()) {
      sum = std::move(extra);
      continue;
    }
    if (sum.shape() != extra.shape() || sum.dtype() != extra.dtype()) {
      fail(ErrorCode::shape, "add_gradients",
           fmt::format("gradient {} is {} and {}; want the same", i, sum.describe(), extra.describe()));
    }
    kernels::accumulate(sum.dtype(), sum.raw(), extra.raw(), sum.numel());
  }
  a.loss += b.loss;
}

GradientSum tree_sum(std::int64_t first, std::int64_t count,
                     const std::function<GradientSum(std::int64_t)>& leaf) {
  if (count < 1) fail(ErrorCode::value, "tree_sum", fmt::format("count is {}; want 1 or more", count));
  if (count == 1) return leaf(first);
  const std::int64_t left = (count + 1) / 2;
  GradientSum sum = tree_sum(first, left, leaf);
  add_gradients(sum, tree_sum(first + left, count - left, leaf));
  return sum;
}

}  // namespace headway::inline v1::train
