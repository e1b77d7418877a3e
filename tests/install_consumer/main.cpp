// The README's first lines as a stranger's program would have them: train-mode forward and backward through
// one layer, a mask, both projections. Prints nothing and returns 0 when the numbers are as the documents
// promise.
#include <cmath>
#include <cstdio>
#include <vector>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/core/version.h>
#include <headway/nn/multi_head_attention.h>
#include <headway/ops/all.h>

namespace hw = headway;

namespace {
int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "consumer: %s\n", what);
  ++failures;
}

double largest_difference(const hw::Tensor& a, const hw::Tensor& b) {
  const std::vector<float> left = a.to_vector<float>(), right = b.to_vector<float>();
  double largest = left.size() == right.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < left.size() && i < right.size(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(left[i] - right[i])));
  return largest;
}
}  // namespace

int main() {
  hw::Generator generator(1);
  hw::nn::MultiHeadAttention mha({.model_dim = 64, .heads = 8, .kv_heads = 2}, generator);
  const hw::Tensor x = hw::require_grad(hw::randn({2, 16, 64}, generator));
  const hw::Mask mask = hw::Mask::causal() & hw::Mask::window(4, 0);

  const hw::nn::Attended seen = mha.attend(x, {.mask = mask, .weights = hw::Weights::per_head});
  expect(seen.output.shape() == hw::Shape({2, 16, 64}), "the output has the shape of the input");
  expect(seen.weights.shape() == hw::Shape({2, 8, 16, 16}), "weights are [B, H, T, S]");
  expect(seen.weights.to_vector<float>()[1] == 0.0f, "the first query does not see the second key");

  hw::sum(seen.output).backward();
  expect(x.grad().defined(), "the gradient reaches the input");
  for (const hw::nn::NamedParameter& parameter : mha.parameters())
    expect(parameter.tensor.grad().defined(), parameter.name.c_str());

  mha.to(hw::nn::Projection::split);
  // Products of 64 terms around 1 in another order: each sum moves by at most 64 roundings.
  expect(largest_difference(mha(x, {.mask = mask}), seen.output) < 64 * 0x1p-23,
         "both projections are one function");

  try {
    hw::nn::MultiHeadAttention wrong({.model_dim = 10, .heads = 3}, generator);
    expect(false, "10 is not divisible by 3");
  } catch (const hw::Error& error) {
    expect(error.code() == hw::ErrorCode::shape, "the error carries its code");
  }
  expect(hw::version()[0] == '0', "the version is known");
  return failures == 0 ? 0 : 1;
}
