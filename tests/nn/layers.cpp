#include <cmath>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/nn/embedding.h>
#include <headway/nn/feed_forward.h>
#include <headway/nn/linear.h>
#include <headway/nn/norm.h>
#include <headway/nn/positions.h>
#include <headway/ops/pointwise.h>

#include "support/compare.h"

namespace headway::nn {
namespace {

using testing::expect_bitwise_equal;
using testing::values_of;

struct Pair : Module {
  explicit Pair(Generator& generator) : first({.inputs = 3, .outputs = 2}, generator), second(2) {
    add_child("first", first);
    add_child("second", second);
    own = add_parameter("own", ones({4}));
  }
  Linear first;
  LayerNorm second;
  Tensor own;
};

TEST(Module, parameters_carry_the_path_to_them) {
  Generator generator(1);
  Pair pair(generator);
  std::vector<std::string> names;
  for (const NamedParameter& parameter : pair.parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"own", "first.weight", "first.bias", "second.weight", "second.bias"}));
  EXPECT_EQ(pair.parameter_count(), 4 + 6 + 2 + 2 + 2);
}

TEST(Module, training_mode_reaches_every_child_and_ends) {
  Generator generator(1), noise(2);
  Pair pair(generator);
  EXPECT_FALSE(pair.first.training());
  pair.train(noise);
  EXPECT_TRUE(pair.first.training());
  EXPECT_TRUE(pair.second.training());
  pair.eval();
  EXPECT_FALSE(pair.second.training());
}

TEST(Module, zero_grad_clears_every_gradient) {
  Generator generator(1);
  Pair pair(generator);
  sum(pair.second(pair.first(ones({2, 3}))).output).backward();
  EXPECT_TRUE(pair.first.weight().grad().defined());
  pair.zero_grad();
  for (const NamedParameter& parameter : pair.parameters()) EXPECT_FALSE(parameter.tensor.grad().defined());
}

TEST(Linear, is_the_affine_map_of_its_parameters) {
  Generator generator(1);
  Linear layer({.inputs = 5, .outputs = 3, .activation = Activation::relu}, generator);
  const Tensor x = randn({7, 5}, generator);
  auto* bias = layer.bias().data<float>();
  for (int i = 0; i < 3; ++i) bias[i] = 0.1f * static_cast<float>(i);
  expect_bitwise_equal(layer(x), linear(x, layer.weight(), layer.bias(), {.activation = Activation::relu}),
                       "y");
  EXPECT_THROW(Linear({.inputs = 0, .outputs = 3}, generator), Error);
}

TEST(Linear, starts_within_the_xavier_bound_and_fills_it) {
  Generator generator(1);
  const Linear layer({.inputs = 60, .outputs = 40}, generator);
  const double bound = std::sqrt(6.0 / 100);
  double square = 0;
  for (const double w : values_of(layer.weight())) {
    EXPECT_LE(std::abs(w), bound);
    square += w * w;
  }
  // A uniform variable's variance is bound²/3; the mean of 2400 squares deviates by 0.9/sqrt(2400) of it.
  EXPECT_NEAR(square / 2400, bound * bound / 3, 5 * 0.9 / std::sqrt(2400.0) * bound * bound / 3);
  for (const double b : values_of(layer.bias())) EXPECT_EQ(b, 0);
}

TEST(Linear, gelu_in_training_keeps_the_value_of_evaluation) {
  Generator generator(1), noise(2);
  Linear layer({.inputs = 16, .outputs = 8, .activation = Activation::gelu}, generator);
  const Tensor x = randn({5, 16}, generator);
  const Tensor before = layer(x);
  layer.train(noise);
  testing::expect_close(layer(x), before, DType::float32, {.steps = 8}, "gelu");
}

TEST(Norm, layer_norm_has_mean_zero_and_variance_one_at_the_start) {
  Generator generator(1);
  const LayerNorm norm(64);
  const std::vector<double> y = values_of(norm(randn({1, 64}, generator)).output);
  double mean = 0, square = 0;
  for (const double v : y) {
    mean += v / 64;
    square += v * v / 64;
  }
  EXPECT_NEAR(mean, 0, 64 * 0x1p-24);
  EXPECT_NEAR(square, 1, 1e-4);  // eps = 1e-5 against a variance of about 1
}

TEST(Norm, fused_residual_is_the_sum_of_both) {
  Generator generator(1);
  const RMSNorm norm(32);
  const Tensor x = randn({3, 32}, generator), residual = randn({3, 32}, generator);
  NormOptions how;
  how.residual = residual;
  const NormResult fused = norm(x, how);
  expect_bitwise_equal(fused.sum, add(residual, x), "sum");
  testing::expect_close(fused.output, norm(add(residual, x)).output, DType::float32, {.steps = 8}, "output");
  EXPECT_EQ(norm.parameters().size(), 1u);
}

TEST(Embedding, scales_rows_by_the_root_of_the_width) {
  Generator generator(1);
  const Embedding table({.vocabulary = 11, .width = 16}, generator);
  const Tensor ids = from(std::vector<std::int32_t>{3, 0}, {2});
  const std::vector<float> y = table(ids).to_vector<float>(), w = table.weight().to_vector<float>();
  for (std::size_t j = 0; j < 16; ++j) {
    EXPECT_EQ(y[j], 4 * w[3 * 16 + j]);
    EXPECT_EQ(y[16 + j], 4 * w[j]);
  }
  const Embedding plain({.vocabulary = 11, .width = 16, .scaled = false}, generator);
  EXPECT_EQ(plain(ids).to_vector<float>()[0], plain.weight().to_vector<float>()[48]);
}

TEST(Positions, sinusoids_are_those_of_the_paper) {
  const std::vector<float> table = sinusoidal_positions(20, 6).to_vector<float>();
  for (std::size_t p = 0; p < 20; ++p) {
    for (std::size_t i = 0; i < 3; ++i) {
      const double angle = static_cast<double>(p) / std::pow(10000.0, 2.0 * static_cast<double>(i) / 6);
      EXPECT_NEAR(table[p * 6 + 2 * i], std::sin(angle), 0x1p-24);
      EXPECT_NEAR(table[p * 6 + 2 * i + 1], std::cos(angle), 0x1p-24);
    }
  }
}

TEST(Positions, count_from_zero_in_every_sequence) {
  EXPECT_EQ(position_ids({0, 3, 3, 5}).to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 1, 2, 0, 1}));
}

TEST(Positions, learned_ones_are_a_parameter) {
  Generator generator(1);
  EXPECT_EQ(
      Positions({.kind = PositionKind::learned, .max_length = 8, .width = 4}, generator).parameters().size(),
      1u);
  EXPECT_TRUE(Positions({.max_length = 8, .width = 4}, generator).parameters().empty());
  EXPECT_THROW(Positions({.max_length = 0, .width = 4}, generator), Error);
}

TEST(FeedForward, each_kind_is_its_formula) {
  for (const FeedForwardKind kind : {FeedForwardKind::relu, FeedForwardKind::gelu, FeedForwardKind::swiglu}) {
    Generator generator(1);
    const FeedForward network({.model_dim = 8, .hidden = 12, .kind = kind}, generator);
    const Tensor x = randn({5, 8}, generator);
    std::vector<Tensor> p;
    for (const NamedParameter& parameter : network.parameters()) p.push_back(parameter.tensor);
    Tensor want;
    if (kind == FeedForwardKind::swiglu) {
      ASSERT_EQ(p.size(), 3u);  // up, gate, down
      want = linear(mul(silu(linear(x, p[1])), linear(x, p[0])), p[2]);
    } else {
      ASSERT_EQ(p.size(), 4u);
      const Tensor hidden = linear(x, p[0], p[1]);
      want = linear(kind == FeedForwardKind::relu ? relu(hidden) : gelu(hidden), p[2], p[3]);
    }
    testing::expect_close(network(x), want, DType::float32, {.steps = 8 + 12}, "y");
  }
}

TEST(FeedForward, activations_that_no_product_ends_in_are_their_formulas) {
  using Kind = FeedForwardKind;
  const auto check = [](Kind kind, double (*formula)(double)) {
    Generator generator(1);
    const FeedForward network({.model_dim = 8, .hidden = 12, .kind = kind}, generator);
    const Tensor x = randn({5, 8}, generator);
    std::vector<Tensor> p;
    for (const NamedParameter& parameter : network.parameters()) p.push_back(parameter.tensor);
    const bool gated = is_gated(kind);
    std::vector<float> values = (gated ? linear(x, p[1]) : linear(x, p[0], p[1])).to_vector<float>();
    for (float& value : values) value = static_cast<float>(formula(value));
    Tensor hidden = from(values, {5, 12});
    if (gated) hidden = mul(hidden, linear(x, p[0]));
    const Tensor want = gated ? linear(hidden, p[2]) : linear(hidden, p[2], p[3]);
    testing::expect_close(network(x), want, DType::float32, {.steps = 8 + 12}, "y");
  };
  const auto quick = +[](double x) { return x / (1 + std::exp(-1.702 * x)); };
  const auto square = +[](double x) { return x > 0 ? x * x : 0; };
  check(Kind::quick_gelu, quick);
  check(Kind::quick_geglu, quick);
  check(Kind::relu2, square);
  check(Kind::reglu2, square);
}

}  // namespace
}  // namespace headway::nn
