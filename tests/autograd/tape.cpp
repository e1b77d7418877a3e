#include <headway/autograd/tape.h>

#include <gmock/gmock.h>

#include <headway/core/allocator.h>
#include <headway/core/factory.h>
#include <headway/ops/norm.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway {
namespace {

using ::testing::ElementsAre;
using testing::expect_bitwise_equal;
using ::testing::HasSubstr;
using testing::random;

Tensor leaf(const std::vector<float>& values) {
  return require_grad(from(values, {static_cast<std::int64_t>(values.size())}));
}

template <typename Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tape, gradients_of_shared_inputs_add_up) {
  const Tensor x = leaf({2, 3});
  const Tensor y = mul(x, x);
  sum(add(y, add(x, y))).backward();
  EXPECT_THAT(x.grad().to_vector<float>(), ElementsAre(9, 13));  // 2·2x + 1
}

TEST(Tape, gradients_accumulate_over_backward_passes) {
  const Tensor x = leaf({1, 2});
  sum(scale(x, 3)).backward();
  sum(scale(x, 4)).backward();
  EXPECT_THAT(x.grad().to_vector<float>(), ElementsAre(7, 7));
}

TEST(Tape, adds_up_in_reverse_order_of_creation_whatever_the_graph) {
  // In float32, (1e8 - 1e8) + 1 is 1 and (1 - 1e8) + 1e8 is 0: the order shows.
  const Tensor x = leaf({1});
  const Tensor a = scale(x, 1), b = scale(x, -1e8), c = scale(x, 1e8);
  sum(add(a, add(b, c))).backward();
  EXPECT_EQ(x.grad().item<float>(), 1);  // c, then b, then a
}

TEST(Tape, a_leaf_is_what_was_not_computed_from_what_takes_a_gradient) {
  const Tensor x = leaf({1, 2}), constant = from<float>({1, 2}, {2});
  EXPECT_TRUE(autograd::is_leaf(x));
  EXPECT_TRUE(autograd::is_leaf(constant));
  EXPECT_TRUE(autograd::is_leaf(scale(constant, 2)));
  EXPECT_FALSE(autograd::is_leaf(scale(x, 2)));
  EXPECT_TRUE(autograd::is_leaf(scale(x, 2).detach()));
}

TEST(Tape, a_leaf_owns_its_gradient) {
  const Tensor x = leaf({1, 2}), y = leaf({3, 4});
  const Tensor seed = from<float>({1, 1}, {2});
  add(x, y).backward(seed);  // one tensor is the gradient of both
  x.grad().data<float>()[0] = 50;
  EXPECT_THAT(y.grad().to_vector<float>(), ElementsAre(1, 1));
  EXPECT_THAT(seed.to_vector<float>(), ElementsAre(1, 1));
}

TEST(Tape, a_seed_must_fit) {
  const Tensor x = leaf({1, 2});
  const Tensor y = scale(x, 2);
  EXPECT_THAT(message_of([&] { y.backward(); }), HasSubstr("want one element, or a seed"));
  EXPECT_THAT(message_of([&] { y.backward(ones({3})); }), HasSubstr("seed is float32 [3]"));
  EXPECT_THAT(message_of([&] { y.backward(ones({2}, DType::float64)); }), HasSubstr("seed is float64"));
  y.backward(ones({2}));
  EXPECT_THAT(x.grad().to_vector<float>(), ElementsAre(2, 2));
}

TEST(Tape, writing_to_a_saved_tensor_is_an_error_that_names_the_op) {
  const Tensor x = leaf({1, 2}), y = leaf({3, 4});
  const Tensor loss = sum(mul(x, y));
  copy_into(y.detach(), zeros({2}));
  EXPECT_THAT(message_of([&] { loss.backward(); }), HasSubstr("mul: "));
}

TEST(Tape, a_second_walk_is_refused_by_name) {
  const Tensor x = leaf({1, 2});
  const Tensor loss = sum(mul(x, x));
  loss.backward();
  EXPECT_THAT(message_of([&] { loss.backward(); }), HasSubstr("walked before"));
}

TEST(Tape, gradients_themselves_have_none) {
  const Tensor x = leaf({1, 2});
  sum(mul(x, x)).backward();
  EXPECT_FALSE(x.grad().requires_grad());
  EXPECT_THAT(message_of([&] { sum(x.grad()).backward(); }), HasSubstr("double backward"));
}

TEST(Tape, nothing_is_recorded_under_no_grad) {
  const Tensor x = leaf({1, 2});
  {
    const NoGrad outer;
    {
      const NoGrad inner;
      EXPECT_FALSE(mul(x, x).requires_grad());
    }
    EXPECT_FALSE(mul(x, x).requires_grad());
  }
  EXPECT_TRUE(mul(x, x).requires_grad());
}

TEST(Tape, no_grad_keeps_no_intermediate_alive) {
  const Tensor x = require_grad(zeros({1000}));
  const auto before = memory_stats().current;
  const NoGrad no_grad;
  Tensor y = x;
  for (int i = 0; i < 5; ++i) y = gelu(y);
  EXPECT_EQ(memory_stats().current - before, 4000);
}

TEST(Tape, only_floating_tensors_can_require_a_gradient) {
  EXPECT_THROW(require_grad(zeros({2}, DType::int32)), Error);
}

TEST(Tape, a_branch_without_gradient_is_not_walked) {
  const Tensor x = leaf({1, 2});
  const Tensor constant = from<float>({5, 6}, {2});
  sum(mul(x, constant)).backward();
  EXPECT_FALSE(constant.grad().defined());
  EXPECT_THAT(x.grad().to_vector<float>(), ElementsAre(5, 6));
}

TEST(Tape, frees_saved_tensors_as_it_walks) {
  constexpr std::int64_t kBytes = 100000 * 4;
  const Tensor x = require_grad(zeros({100000}));
  const auto before = memory_stats().current;
  Tensor y = x;
  for (int i = 0; i < 10; ++i) y = gelu(y);
  Tensor loss = sum(y);
  y = Tensor();
  // gelu keeps its input: 9 of them are intermediate.
  EXPECT_GE(memory_stats().current - before, 9 * kBytes);
  reset_peak();
  loss.backward();
  // While it walks, the gradient on its way and the next one; what was saved goes as they come.
  EXPECT_LE(memory_stats().peak - before, 12 * kBytes);
  // The tape's nodes still hang on `loss`, their saved tensors do not: only the gradient of x is left.
  EXPECT_LE(memory_stats().current - before, kBytes + 100);
}

TEST(Tape, an_op_with_two_outputs_takes_gradients_of_both_or_one) {
  const Tensor x = require_grad(random({2, 6}, 1)), w = ones({6}, DType::float64);
  const Tensor residual = random({2, 6}, 2);
  const auto run = [&](bool output, bool total) {
    x.set_grad(Tensor());
    const NormResult result = layer_norm(x, w, {}, {.residual = residual});
    const Tensor weights = random({2, 6}, 3);
    Tensor loss;
    if (output) loss = sum(mul(result.output, weights));
    if (total)
      loss = loss.defined() ? add(loss, sum(mul(result.sum, weights))) : sum(mul(result.sum, weights));
    loss.backward();
    return x.grad().to_vector<double>();
  };
  const auto both = run(true, true), first = run(true, false), second = run(false, true);
  for (std::size_t i = 0; i < both.size(); ++i) EXPECT_NEAR(both[i], first[i] + second[i], 1e-14);
}

TEST(Tape, goes_through_meta_without_a_kernel) {
  const Tensor x = require_grad(Tensor::empty({3, 4}, DType::bfloat16, Device::meta));
  const Tensor y = add(gelu(x), mul(x, x));
  y.backward(Tensor::empty({3, 4}, DType::bfloat16, Device::meta));
  EXPECT_EQ(x.grad().describe(), "bfloat16 [3, 4]");
  EXPECT_EQ(x.grad().device(), Device::meta);
}

}  // namespace
}  // namespace headway
