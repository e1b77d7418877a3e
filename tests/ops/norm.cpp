#include <headway/ops/norm.h>

#include <gmock/gmock.h>

#include <headway/ops/composed.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

struct Variant {
  bool bias, residual;
  double dropout;
};
using Norm = NormResult (*)(const Tensor&, const Tensor&, const Tensor&, const NormOptions&);
NormResult rms(const Tensor& x, const Tensor& weight, const Tensor&, const NormOptions& options) {
  return rms_norm(x, weight, options);
}
NormResult composed_rms(const Tensor& x, const Tensor& weight, const Tensor&, const NormOptions& options) {
  return composed::rms_norm(x, weight, options);
}

// Inputs: x, weight, then bias and residual where the variant has them. Both outputs count.
testing::Function runs(Norm norm, Variant variant) {
  return [=](const Tensors& in) {
    Generator generator(7);
    NormOptions options{.dropout = variant.dropout, .generator = &generator};
    std::size_t next = 2;
    const Tensor bias = variant.bias ? in[next++] : Tensor();
    if (variant.residual) options.residual = in[next];
    const NormResult result = norm(in[0], in[1], bias, options);
    return Tensors{result.output, result.sum};
  };
}

// The result is about as large as |x̂| <= sqrt(C); a dozen roundings of float32 make it. In bfloat16 s and
// d_output are stored rounded: s enters x̂ and the two means of the gradient, which makes the few roundings
// allowed there. Rows of one or two elements are all cancellation (x̂ is 0 or ±1 by construction): eps keeps
// them in proportion.
OpCase one(Norm norm, const Shape& shape, Variant variant) {
  Tensors inputs = {random(shape, 1), random({shape.back()}, 2)};
  std::vector<bool> parameter = {false, true};
  if (variant.bias) {
    inputs.push_back(random({shape.back()}, 3));
    parameter.push_back(true);
  }
  if (variant.residual) inputs.push_back(random(shape, 4));
  return {shape.str() + (variant.bias ? " bias" : "") + (variant.residual ? " residual" : "") +
              (variant.dropout > 0 ? " dropout" : ""),
          runs(norm, variant),
          inputs,
          {8, 48},
          parameter};
}

std::vector<OpCase> cases(Norm norm, bool bias) {
  std::vector<OpCase> all;
  for (std::int64_t n = 3; n <= 40; ++n)
    all.push_back(one(norm, {2, n}, {bias && n % 2 == 0, n % 3 == 0, n % 4 == 0 ? 0.25 : 0}));
  for (std::int64_t n = 63; n <= 65; ++n) all.push_back(one(norm, {3, n}, {bias, true, 0.5}));
  all.push_back(one(norm, {2, 3, 8}, {bias, true, 0.5}));
  all.push_back(one(norm, {0, 8}, {bias, true, 0.5}));
  all.push_back(one(norm, {0, 8}, {bias, false, 0}));
  return all;
}

std::vector<OpCase> layer_small() { return cases(layer_norm, true); }
OpCase layer_large() { return one(layer_norm, {700, 132}, {true, true, 0.1}); }
HEADWAY_OP_SUITE(layer_norm, layer_small, layer_large)
std::vector<OpCase> rms_small() { return cases(rms, false); }
OpCase rms_large() { return one(rms, {700, 132}, {false, true, 0.1}); }
HEADWAY_OP_SUITE(rms_norm, rms_small, rms_large)

using Pairs = std::vector<std::pair<OpCase, testing::Function>>;
Pairs against(Norm fused, Norm composed, bool bias) {
  Pairs pairs;
  for (const Variant variant : {Variant{bias, false, 0}, Variant{bias, true, 0}, Variant{bias, true, 0.25},
                                Variant{false, false, 0.25}}) {
    for (const Shape& shape : {Shape{3, 17}, Shape{2, 5, 32}, Shape{40, 24}}) {
      pairs.emplace_back(one(fused, shape, variant), runs(composed, variant));
    }
  }
  return pairs;
}
Pairs layer_pairs() { return against(layer_norm, composed::layer_norm, true); }
HEADWAY_OP_COMPOSED(layer_norm, layer_pairs)
Pairs rms_pairs() { return against(rms, composed_rms, false); }
HEADWAY_OP_COMPOSED(rms_norm, rms_pairs)

TEST(LayerNorm, long_rows_that_cross_a_chunk_of_random_numbers_agree_with_the_reference) {
  for (const std::int64_t n : {511, 512, 513, 1027}) {
    testing::check_reference(one(layer_norm, {2, n}, {true, true, 0.3}), DType::float32);
  }
}

TEST(LayerNorm, drops_exactly_what_dropout_drops) {
  for (const std::int64_t n : {5, 16, 33, 600}) {
    const Tensor x = random({3, n}, 1, DType::float32);
    Generator a(9), b(9);
    const auto fused = layer_norm(x, ones({n}), {}, {.dropout = 0.4, .generator = &a}).sum;
    testing::expect_bitwise_equal(fused, dropout(x, 0.4, b), "sum");
    EXPECT_EQ(a.next_call(), b.next_call());
  }
}

TEST(LayerNorm, without_residual_and_dropout_the_sum_is_x_itself) {
  const Tensor x = random({3, 8}, 1, DType::float32);
  EXPECT_TRUE(layer_norm(x, ones({8}), {}).sum.is_same(x));
}

TEST(LayerNorm, a_gradient_of_the_sum_alone_reaches_x_and_residual) {
  const Tensor x = require_grad(random({2, 6}, 1)), residual = require_grad(random({2, 6}, 2));
  Generator generator(4), same(4);
  const NormResult result = layer_norm(x, ones({6}, DType::float64), {},
                                       {.residual = residual, .dropout = 0.5, .generator = &generator});
  sum(result.sum).backward();
  testing::expect_bitwise_equal(residual.grad(), ones({2, 6}, DType::float64), "residual");
  testing::expect_bitwise_equal(x.grad(), dropout(ones({2, 6}, DType::float64), 0.5, same), "x");
}

TEST(LayerNorm, a_row_of_equal_elements_gives_the_bias) {
  const auto y = layer_norm(full({2, 19}, 5), ones({19}), full({19}, 0.25)).output.to_vector<float>();
  for (const float value : y) EXPECT_EQ(value, 0.25f);
}

TEST(LayerNorm, what_does_not_fit_is_refused_by_name) {
  const Tensor x = zeros({2, 8}), w = ones({8});
  EXPECT_THROW(layer_norm(x, ones({7}), {}), Error);
  EXPECT_THROW(layer_norm(x, ones({8}, DType::float64), {}), Error);
  EXPECT_THROW(layer_norm(x, w, ones({2, 8})), Error);
  EXPECT_THROW(layer_norm(x, w, {}, {.residual = zeros({8, 2})}), Error);
  EXPECT_THROW(layer_norm(x, w, {}, {.dropout = 0.5}), Error);
  EXPECT_THROW(layer_norm(x, w, {}, {.dropout = 1}), Error);
  EXPECT_THROW(layer_norm(zeros({}), w, {}), Error);
  try {
    rms_norm(x, ones({7}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("rms_norm: weight is float32 [7]; want float32 [8]"));
  }
}

}  // namespace
}  // namespace headway
