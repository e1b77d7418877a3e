// A process forked after the parent computed something, with oneDNN's products and the packed weights in it.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <headway/autograd/tape.h>
#include <headway/core/parallel.h>
#include <headway/nn/linear.h>
#include <headway/nn/multi_head_attention.h>
#include <support/fork.h>
#include <support/random.h>

namespace headway::nn {
namespace {

using headway::testing::in_child;
using headway::testing::random;

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.numel()) * sizeof(float)) == 0;
}

class ForkedLayer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!headway::testing::kCanFork) GTEST_SKIP() << "the thread sanitizer ends a child that starts threads";
    set_threads(3);
  }
  void TearDown() override { set_threads(before_); }

 private:
  int before_ = threads();
};

TEST_F(ForkedLayer, a_child_computes_the_same_bits_forward_and_backward) {
  Generator generator(1);
  MultiHeadAttention layer({.model_dim = 64, .heads = 4}, generator);
  const Tensor x = random({2, 40, 64}, 2, DType::float32);
  const auto step = [&] {
    const Tensor leaf = require_grad(x.detach());
    const Tensor out = layer(leaf);
    out.backward(x);
    return std::pair(out.detach(), leaf.grad());
  };
  const auto wanted = step();
  const auto agrees = [&] {
    const auto got = step();
    return same_bits(got.first, wanted.first) && same_bits(got.second, wanted.second);
  };
  EXPECT_TRUE(in_child(agrees));
  EXPECT_TRUE(in_child([&] { return in_child(agrees); }));
  EXPECT_TRUE(agrees());
}

TEST_F(ForkedLayer, a_child_computes_while_other_threads_of_the_parent_plan_and_pack) {
  Generator generator(1);
  Linear layer({.inputs = 64, .outputs = 64}, generator);
  const Tensor x = random({50, 64}, 2, DType::float32);
  const NoGrad silent;
  const Tensor wanted = layer(x);
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (std::int64_t seed = 0; seed < 2; ++seed) {
    others.emplace_back([&, seed] {
      const NoGrad also_silent;
      for (std::int64_t rows = 1; !stop; rows = rows % 400 + 1) {  // shapes that are often new
        Generator own(static_cast<std::uint64_t>(rows));
        (void)Linear({.inputs = 48 + seed, .outputs = 40}, own)(random({rows, 48 + seed}, 3, DType::float32));
      }
    });
  }
  int good = 0;
  for (int i = 0; i < 30; ++i) good += in_child([&] { return same_bits(layer(x), wanted); });
  stop = true;
  for (std::thread& other : others) other.join();
  EXPECT_EQ(good, 30);
}

}  // namespace
}  // namespace headway::nn
