#include <gtest/gtest.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/factory.h>
#include <headway/ops/pointwise.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway {
namespace {

using testing::expect_bitwise_equal;
using testing::random;

struct Outcome {
  Tensor output, x_grad, weight_grad;
  std::uint64_t next_call;
};

Outcome run(bool checkpointed) {
  const Tensor x = require_grad(random({5, 33}, 1, DType::float32));
  const Tensor weight = require_grad(random({33}, 2, DType::float32));
  Generator generator(9);
  const auto body = [&](const std::vector<Tensor>& in) {
    return dropout(mul(gelu(dropout(in[0], 0.3, generator)), weight), 0.5, generator);
  };
  Tensor y = checkpointed ? checkpoint(body, {x}, {&generator}) : body({x});
  y = dropout(y, 0.2, generator);  // what comes after sees the same state
  y.backward(ones({5, 33}));
  return {y, x.grad(), weight.grad(), generator.next_call()};
}

TEST(Checkpoint, gives_the_bits_of_the_plain_run_with_dropout) {
  const Outcome plain = run(false), again = run(true);
  expect_bitwise_equal(again.output, plain.output, "output");
  expect_bitwise_equal(again.x_grad, plain.x_grad, "gradient of the input");
  expect_bitwise_equal(again.weight_grad, plain.weight_grad, "gradient of a parameter inside");
  EXPECT_EQ(again.next_call, plain.next_call);
}

TEST(Checkpoint, keeps_the_input_alone) {
  constexpr std::int64_t kBytes = 10000 * 4;
  const Tensor x = require_grad(zeros({10000}));
  const auto before = memory_stats().current;
  const auto body = [](const std::vector<Tensor>& in) {
    Tensor y = in[0];
    for (int i = 0; i < 6; ++i) y = gelu(y);
    return y;
  };
  const Tensor y = checkpoint(body, {x});
  EXPECT_LE(memory_stats().current - before, kBytes + 100);
}

TEST(Checkpoint, parameters_inside_get_gradients_when_the_input_needs_none) {
  const Tensor x = random({4}, 1, DType::float32), weight = require_grad(ones({4}));
  const Tensor y = checkpoint([&](const std::vector<Tensor>& in) { return mul(in[0], weight); }, {x});
  y.backward(ones({4}));
  expect_bitwise_equal(weight.grad(), x, "gradient");
  EXPECT_FALSE(x.grad().defined());
}

TEST(Checkpoint, nests) {
  const Tensor x = require_grad(random({7}, 1, DType::float32)),
               same = require_grad(random({7}, 1, DType::float32));
  const auto inner = [](const std::vector<Tensor>& in) { return gelu(in[0]); };
  const auto outer = [&](const std::vector<Tensor>& in) { return mul(checkpoint(inner, {in[0]}), in[0]); };
  checkpoint(outer, {x}).backward(ones({7}));
  mul(gelu(same), same).backward(ones({7}));
  expect_bitwise_equal(x.grad(), same.grad(), "gradient");
}

TEST(Checkpoint, under_no_grad_just_runs) {
  const Tensor x = require_grad(ones({4}));
  const NoGrad no_grad;
  int runs = 0;
  const Tensor y = checkpoint(
      [&](const std::vector<Tensor>& in) {
        ++runs;
        return gelu(in[0]);
      },
      {x});
  EXPECT_FALSE(y.requires_grad());
  EXPECT_EQ(runs, 1);
}

TEST(Checkpoint, an_input_written_to_before_the_second_run_is_an_error) {
  const Tensor x = require_grad(ones({4}));
  const Tensor y = checkpoint([](const std::vector<Tensor>& in) { return gelu(in[0]); }, {x});
  copy_into(x.detach(), zeros({4}));
  EXPECT_THROW(y.backward(ones({4})), Error);
}

}  // namespace
}  // namespace headway
