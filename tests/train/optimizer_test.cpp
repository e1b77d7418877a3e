#include <headway/train/optimizer.h>

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>

namespace headway::train {
namespace {

nn::NamedParameter parameter(std::string name, const Shape& shape, Generator& generator,
                             DType dtype = DType::float32) {
  return {std::move(name), require_grad(randn(shape, generator, dtype))};
}

// Algorithm 1 of Kingma & Ba and algorithm 2 of Loshchilov & Hutter, word for word, in float64.
struct Plain {
  std::vector<double> w, m, v;
  int t = 0;
  explicit Plain(std::vector<double> weights) : w(std::move(weights)), m(w.size()), v(w.size()) {}
  void step(const std::vector<double>& gradient, const AdamOptions& o, double rate) {
    ++t;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double g = gradient[i] + (o.decoupled ? 0 : o.weight_decay * w[i]);
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(o.beta1, t)), v_hat = v[i] / (1 - std::pow(o.beta2, t));
      w[i] -= rate * (m_hat / (std::sqrt(v_hat) + o.eps) + (o.decoupled ? o.weight_decay * w[i] : 0));
    }
  }
};

class AdamAgainstPlain : public testing::TestWithParam<bool> {};

TEST_P(AdamAgainstPlain, every_tail_length_follows_the_published_algorithm) {
  const AdamOptions options{.weight_decay = 0.1, .decoupled = GetParam()};
  for (std::int64_t count = 1; count <= 40; ++count) {
    Generator generator(static_cast<std::uint64_t>(count));
    const auto p = parameter("w", {count}, generator, DType::float64);
    Plain plain(p.tensor.to_vector<double>());
    Adam adam(std::vector{p}, options);
    for (int step = 0; step < 5; ++step) {
      const Tensor gradient = randn({count}, generator, DType::float64);
      plain.step(gradient.to_vector<double>(), options, 0.01);
      p.tensor.set_grad(gradient);
      adam.step(0.01);
    }
    const auto got = p.tensor.to_vector<double>();
    for (std::size_t i = 0; i < got.size(); ++i) {
      // A dozen roundings a step on numbers below 4.
      EXPECT_NEAR(got[i], plain.w[i], 5 * 12 * 4 * std::numeric_limits<double>::epsilon())
          << count << " " << i;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Both, AdamAgainstPlain, testing::Bool(),
                         [](const auto& which) { return which.param ? "decoupled" : "coupled"; });

TEST(Adam, float32_follows_float64_within_its_rounding) {
  Generator generator(4);
  const auto p = parameter("w", {37, 29}, generator);
  const auto start = p.tensor.to_vector<float>();
  Plain plain({start.begin(), start.end()});
  Adam adam(std::vector{p}, {});
  for (int step = 0; step < 10; ++step) {
    const Tensor gradient = randn({37, 29}, generator);
    const auto values = gradient.to_vector<float>();
    plain.step({values.begin(), values.end()}, {}, 0.01);
    p.tensor.set_grad(gradient);
    adam.step(0.01);
  }
  const auto got = p.tensor.to_vector<float>();
  for (std::size_t i = 0; i < got.size(); ++i) {
    // Weights below 8 round by 2^-21 each step; an update of 0.01·O(1) is itself right to a few 2^-24.
    EXPECT_NEAR(static_cast<double>(got[i]), plain.w[i], 10 * 0x1p-21) << i;
  }
}

TEST(Adam, gives_the_same_bits_for_any_number_of_threads) {
  std::vector<std::vector<float>> results;
  const int before = threads();
  for (const int count : {1, 2, 3, 4, 7}) {
    set_threads(count);
    Generator generator(7);
    std::vector<nn::NamedParameter> list{parameter("big", {300, 211}, generator),
                                         parameter("b", {5}, generator), parameter("c", {17000}, generator),
                                         parameter("d", {1}, generator)};
    Adam adam(list, {.weight_decay = 0.01, .clip_norm = 0.5});
    std::vector<float> result;
    for (int step = 0; step < 3; ++step) {
      for (const auto& p : list) p.tensor.set_grad(randn(p.tensor.shape(), generator));
      result.push_back(static_cast<float>(adam.step(0.01, 3).gradient_norm));
    }
    for (const auto& p : list) {
      const auto values = p.tensor.to_vector<float>();
      result.insert(result.end(), values.begin(), values.end());
    }
    results.push_back(std::move(result));
  }
  set_threads(before);
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

TEST(Adam, clipping_scales_all_gradients_together) {
  Generator generator(1);
  const auto make = [&] {
    Generator same(8);
    return std::vector{parameter("a", {3}, same), parameter("b", {2}, same)};
  };
  const auto clipped = make(), scaled = make();
  for (const auto* list : {&clipped, &scaled}) {
    const float factor = list == &clipped ? 1.0F : 0.25F;  // the norm is 4, clipped to 1
    (*list)[0].tensor.set_grad(from(std::vector<float>{2 * factor, 2 * factor, 2 * factor}, {3}));
    (*list)[1].tensor.set_grad(from(std::vector<float>{0, 2 * factor}, {2}));
  }
  // A coarse eps makes the size of the gradient matter, which Adam else divides out.
  const StepResult result = Adam(clipped, {.eps = 1, .clip_norm = 1}).step(0.1);
  Adam(scaled, {.eps = 1}).step(0.1);
  EXPECT_DOUBLE_EQ(result.gradient_norm, 4);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(clipped[i].tensor.to_vector<float>(), scaled[i].tensor.to_vector<float>());
  }
}

TEST(Adam, divisor_turns_accumulated_sums_into_means) {
  Generator one(8), two(8);
  const auto a = parameter("w", {4}, one), b = parameter("w", {4}, two);
  a.tensor.set_grad(full({4}, 8));
  b.tensor.set_grad(full({4}, 2));
  EXPECT_EQ(Adam(std::vector{a}, {.eps = 1}).step(0.1, 4).gradient_norm,
            Adam(std::vector{b}, {.eps = 1}).step(0.1).gradient_norm);
  EXPECT_EQ(a.tensor.to_vector<float>(), b.tensor.to_vector<float>());
}

TEST(Adam, skips_parameters_without_gradient_and_frozen_ones) {
  Generator generator(8);
  const auto used = parameter("used", {2}, generator), idle = parameter("idle", {2}, generator),
             frozen = parameter("frozen", {2}, generator);
  const auto idle_before = idle.tensor.to_vector<float>(), frozen_before = frozen.tensor.to_vector<float>();
  Adam adam({{.parameters = {used, idle}}, {.parameters = {frozen}, .frozen = true}});
  used.tensor.set_grad(ones({2}));
  frozen.tensor.set_grad(full({2}, 100));
  const auto version = used.tensor.version(), idle_version = idle.tensor.version();
  EXPECT_DOUBLE_EQ(adam.step(0.1).gradient_norm, std::sqrt(2.0));
  EXPECT_EQ(idle.tensor.to_vector<float>(), idle_before);
  EXPECT_EQ(frozen.tensor.to_vector<float>(), frozen_before);
  EXPECT_GT(used.tensor.version(), version);
  EXPECT_EQ(idle.tensor.version(), idle_version);
  adam.set_frozen(1, false);
  adam.step(0.1);
  EXPECT_NE(frozen.tensor.to_vector<float>(), frozen_before);
}

TEST(Adam, rate_factor_scales_a_groups_steps) {
  Generator generator(8);
  const auto slow = parameter("slow", {1}, generator, DType::float64),
             fast = parameter("fast", {1}, generator, DType::float64);
  const double slow_before = slow.tensor.item<double>(), fast_before = fast.tensor.item<double>();
  Adam adam({{.parameters = {slow}, .rate_factor = 0.5}, {.parameters = {fast}}});
  slow.tensor.set_grad(ones({1}, DType::float64));
  fast.tensor.set_grad(ones({1}, DType::float64));
  adam.step(0.1);
  EXPECT_NEAR(2 * (slow_before - slow.tensor.item<double>()), fast_before - fast.tensor.item<double>(),
              1e-14);
}

TEST(Adam, a_gradient_that_is_not_finite_changes_nothing) {
  Generator generator(8);
  const auto p = parameter("w", {20}, generator);
  const auto before = p.tensor.to_vector<float>();
  Adam adam(std::vector{p});
  Tensor gradient = ones({20});
  gradient.data<float>()[19] = std::numeric_limits<float>::quiet_NaN();
  p.tensor.set_grad(gradient);
  EXPECT_FALSE(adam.step(0.1).applied);
  EXPECT_EQ(p.tensor.to_vector<float>(), before);
  for (const auto& [name, tensor] : adam.state()) {
    if (name == "w.steps") {
      EXPECT_EQ(tensor.item<std::int64_t>(), 0);
    }
  }
}

TEST(Adam, tied_weights_are_updated_once) {
  Generator one(8), two(8);
  const auto tied = parameter("a", {3}, one), alone = parameter("a", {3}, two);
  tied.tensor.set_grad(ones({3}));
  alone.tensor.set_grad(ones({3}));
  Adam(std::vector<nn::NamedParameter>{tied, {"b", tied.tensor}}).step(0.1);
  Adam(std::vector{alone}).step(0.1);
  EXPECT_EQ(tied.tensor.to_vector<float>(), alone.tensor.to_vector<float>());
}

TEST(Adam, state_loaded_into_another_goes_on_with_the_same_bits) {
  Generator one(8), two(8), gradients(1);
  const auto a = parameter("w", {50}, one), b = parameter("w", {50}, two);
  Adam first(std::vector{a}), second(std::vector{b});
  a.tensor.set_grad(randn({50}, gradients));
  first.step(0.1);
  std::copy_n(a.tensor.data<float>(), 50, b.tensor.data<float>());
  second.load_state(first.state());
  const Tensor gradient = randn({50}, gradients);
  a.tensor.set_grad(gradient);
  b.tensor.set_grad(gradient);
  first.step(0.1);
  second.step(0.1);
  EXPECT_EQ(a.tensor.to_vector<float>(), b.tensor.to_vector<float>());
  EXPECT_THROW(second.load_state({}), Error);
}

TEST(Adam, wrong_options_and_parameters_are_named) {
  Generator generator(8);
  const auto p = parameter("w", {2}, generator);
  EXPECT_THROW(Adam(std::vector{p}, {.beta1 = 1}), Error);
  EXPECT_THROW(Adam(std::vector{p}, {.eps = 0}), Error);
  EXPECT_THROW(Adam(std::vector<nn::NamedParameter>{{"x", zeros({2})}}), Error);
  EXPECT_THROW(Adam(std::vector<nn::NamedParameter>{{"x", require_grad(zeros({2}, DType::bfloat16))}}),
               Error);
  EXPECT_THROW(Adam(std::vector{p}).step(-1), Error);
}

}  // namespace
}  // namespace headway::train
