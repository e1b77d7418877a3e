#include <headway/ops/pointwise.h>

#include <gmock/gmock.h>

#include <limits>

#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;

// Sizes that end at every place of a vector, and shapes with a batch, a scalar, and nothing.
std::vector<Shape> every_tail() {
  std::vector<Shape> shapes;
  for (std::int64_t n = 1; n <= 40; ++n) shapes.push_back({n});
  for (std::int64_t n = 63; n <= 65; ++n) shapes.push_back({n});
  shapes.insert(shapes.end(), {{}, {0, 3}, {2, 3, 5}});
  return shapes;
}

std::vector<OpCase> over_tails(Tensor (*op)(const Tensor&), double steps, double least = 0) {
  std::vector<OpCase> cases;
  for (const Shape& shape : every_tail()) {
    Tensor x = random(shape, 1, DType::bfloat16, 2);
    x = cast(x, DType::float64);
    double* values = x.data<double>();
    // `least` keeps functions away from where they have no derivative.
    for (std::int64_t i = 0; least > 0 && i < x.numel(); ++i) values[i] = std::abs(values[i]) + least;
    cases.push_back({shape.str(),
                     [op](const std::vector<Tensor>& in) { return std::vector{op(in[0])}; },
                     {x},
                     {0, steps}});
  }
  return cases;
}
OpCase large(Tensor (*op)(const Tensor&)) {
  Tensor x = random({7, 9001}, 2);
  return {
      "[7, 9001]", [op](const std::vector<Tensor>& in) { return std::vector{op(in[0])}; }, {mul(x, x)}, {}};
}

// relu is exact; the others are a dozen roundings of intermediate values (polynomials in Horner's form
// converge: only the last few count) no larger than the result's largest value.
std::vector<OpCase> relu_small() { return over_tails(relu, 0); }
OpCase relu_large() { return large(relu); }
HEADWAY_OP_SUITE(relu, relu_small, relu_large)
std::vector<OpCase> gelu_small() { return over_tails(gelu, 12); }
OpCase gelu_large() { return large(gelu); }
HEADWAY_OP_SUITE(gelu, gelu_small, gelu_large)
std::vector<OpCase> gelu_tanh_small() { return over_tails(gelu_tanh, 12); }
OpCase gelu_tanh_large() { return large(gelu_tanh); }
HEADWAY_OP_SUITE(gelu_tanh, gelu_tanh_small, gelu_tanh_large)
std::vector<OpCase> silu_small() { return over_tails(silu, 12); }
OpCase silu_large() { return large(silu); }
HEADWAY_OP_SUITE(silu, silu_small, silu_large)
std::vector<OpCase> tanh_small() { return over_tails(tanh, 12); }
OpCase tanh_large() { return large(tanh); }
HEADWAY_OP_SUITE(tanh, tanh_small, tanh_large)
std::vector<OpCase> rsqrt_small() { return over_tails(rsqrt, 4, 0.25); }
OpCase rsqrt_large() { return large(rsqrt); }
HEADWAY_OP_SUITE(rsqrt, rsqrt_small, rsqrt_large)

Tensor thrice(const Tensor& x) { return scale(x, 3.0); }
std::vector<OpCase> scale_small() { return over_tails(thrice, 0); }
OpCase scale_large() { return large(thrice); }
HEADWAY_OP_SUITE(scale, scale_small, scale_large)

std::vector<OpCase> sum_small() { return over_tails(sum, 1); }
OpCase sum_large() { return large(sum); }
HEADWAY_OP_SUITE(sum, sum_small, sum_large)

Tensor thinned(const Tensor& x) {
  Generator generator(5);
  return dropout(x, 0.3, generator);
}
std::vector<OpCase> dropout_small() { return over_tails(thinned, 2); }
OpCase dropout_large() { return large(thinned); }
HEADWAY_OP_SUITE(dropout, dropout_small, dropout_large)

std::vector<OpCase> pairs(Tensor (*op)(const Tensor&, const Tensor&)) {
  std::vector<std::pair<Shape, Shape>> shapes = {
      {{}, {}},         {{2, 3}, {3}},         {{3}, {2, 3}}, {{4, 1, 5}, {3, 1}},
      {{2, 3}, {2, 1}}, {{2, 1}, {1, 19}},     {{0, 3}, {3}}, {{2, 3, 17}, {1, 3, 17}},
      {{2, 3}, {}},     {{2, 1, 4}, {2, 6, 4}}};
  for (const Shape& shape : every_tail()) shapes.emplace_back(shape, shape);
  std::vector<OpCase> cases;
  for (const auto& [a, b] : shapes) {
    // A gradient summed over a broadcast dimension is a sum of products that were rounded to the op's dtype.
    const double roundings = a == b ? 0 : 2;
    cases.push_back({a.str() + " with " + b.str(),
                     [op](const std::vector<Tensor>& in) { return std::vector{op(in[0], in[1])}; },
                     {random(a, 3), random(b, 4)},
                     {roundings, 2}});
  }
  return cases;
}
OpCase large_pair(Tensor (*op)(const Tensor&, const Tensor&)) {
  return {"[500, 190] with [190]",
          [op](const std::vector<Tensor>& in) { return std::vector{op(in[0], in[1])}; },
          {random({500, 190}, 5), random({190}, 6)},
          {}};
}
std::vector<OpCase> add_small() { return pairs(add); }
OpCase add_large() { return large_pair(add); }
HEADWAY_OP_SUITE(add, add_small, add_large)
std::vector<OpCase> mul_small() { return pairs(mul); }
OpCase mul_large() { return large_pair(mul); }
HEADWAY_OP_SUITE(mul, mul_small, mul_large)

// Two roundings at most, and a polynomial's 1e-7.
TEST(Pointwise, tanh_of_small_numbers_is_right_to_their_own_rounding) {
  std::vector<float> values;
  for (float x = 1e-6f; x < 2; x *= 1.03f) values.insert(values.end(), {x, -x});
  const auto got = tanh(from(values, {static_cast<std::int64_t>(values.size())})).to_vector<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double want = std::tanh(static_cast<double>(values[i]));
    EXPECT_NEAR(got[i], want, 3e-7 * std::abs(want)) << values[i];
  }
}

TEST(Pointwise, extremes_do_not_become_nan) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto x = from<float>({-inf, -200.f, -90.f, -0.f, 90.f, 200.f, inf}, {7});
  EXPECT_THAT(relu(x).to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 90, 200, inf}));
  const auto g = gelu(x).to_vector<float>(), s = silu(x).to_vector<float>();
  const auto t = gelu_tanh(x).to_vector<float>();
  for (const int i : {4, 5}) {
    EXPECT_EQ(g[static_cast<std::size_t>(i)], x.to_vector<float>()[static_cast<std::size_t>(i)]);
    EXPECT_EQ(s[static_cast<std::size_t>(i)], x.to_vector<float>()[static_cast<std::size_t>(i)]);
    EXPECT_EQ(t[static_cast<std::size_t>(i)], x.to_vector<float>()[static_cast<std::size_t>(i)]);
  }
  for (const std::size_t i : {1u, 2u}) {
    EXPECT_EQ(g[i], 0);
    EXPECT_EQ(t[i], 0);
    EXPECT_NEAR(s[i], 0, 1e-36);
  }
}

TEST(Pointwise, nan_stays_nan) {
  const auto x = full({19}, std::nan(""));
  for (const auto& y : {relu(x), gelu(x), gelu_tanh(x), silu(x), tanh(x), rsqrt(x), scale(x, 2)}) {
    for (const float value : y.to_vector<float>()) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Pointwise, different_dtypes_are_refused_by_name) {
  try {
    add(zeros({2}), zeros({2}, DType::bfloat16));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::dtype);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("a is float32 [2], b is bfloat16 [2]"));
  }
}

TEST(Pointwise, shapes_that_do_not_broadcast_are_refused) {
  EXPECT_THROW(mul(zeros({2, 3}), zeros({2})), Error);
}

TEST(Dropout, keeps_the_share_and_the_scale_that_its_threshold_says) {
  Generator generator(3);
  const std::int64_t count = 1 << 20;
  const double p = 0.1;
  const auto y = dropout(ones({count}), p, generator).to_vector<float>();
  const double dropped = std::round(p * 65536) / 65536;
  std::int64_t kept = 0;
  for (const float value : y) {
    if (value == 0) continue;
    ASSERT_FLOAT_EQ(value, static_cast<float>(1 / (1 - dropped)));
    ++kept;
  }
  // Five standard deviations of a binomial count.
  EXPECT_NEAR(static_cast<double>(kept), static_cast<double>(count) * (1 - dropped),
              5 * std::sqrt(static_cast<double>(count) * dropped * (1 - dropped)));
}

TEST(Dropout, draws_the_decisions_that_the_counter_says) {
  Generator generator(11, std::uint64_t{3} << 32 | 9);
  const RandomCall call = Generator(generator).next();
  const auto y = dropout(ones({1003}), 0.5, generator).to_vector<float>();
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::uint32_t word = call.words(i / 8)[i % 8 / 2];
    const std::uint32_t half = i % 2 ? word >> 16 : word & 0xffffu;
    ASSERT_EQ(y[i] != 0, half >= 32768) << i;
  }
}

TEST(Dropout, of_zero_is_the_input_and_draws_nothing) {
  Generator generator(3);
  const Tensor x = ones({4});
  EXPECT_TRUE(dropout(x, 0, generator).is_same(x));
  EXPECT_EQ(generator.next_call(), 0u);
}

TEST(Dropout, never_multiplies_what_it_drops) {
  Generator generator(3);
  for (const float value : dropout(full({1000}, INFINITY), 0.5, generator).to_vector<float>()) {
    EXPECT_TRUE(value == 0 || value == INFINITY);
  }
}

TEST(Dropout, probability_outside_its_range_is_refused) {
  Generator generator(3);
  for (const double p : {-0.1, 1.0, std::nan("")}) EXPECT_THROW(dropout(ones({4}), p, generator), Error);
}

TEST(Pointwise, no_grad_records_nothing) {
  const Tensor x = require_grad(ones({4}));
  const NoGrad no_grad;
  EXPECT_FALSE(gelu(x).requires_grad());
  EXPECT_FALSE(add(x, x).requires_grad());
}

}  // namespace
}  // namespace headway
