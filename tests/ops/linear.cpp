#include <headway/ops/linear.h>

#include <gmock/gmock.h>

#include <headway/ops/composed.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

struct Variant {
  bool bias = true;
  Activation activation = Activation::none;
};

testing::Function runs(Variant variant, bool compose) {
  return [=](const Tensors& in) {
    const Tensor bias = variant.bias ? in[2] : Tensor();
    const LinearOptions options{.activation = variant.activation};
    return Tensors{compose ? composed::linear(in[0], in[1], bias, options)
                           : linear(in[0], in[1], bias, options)};
  };
}

// Sums of I, O or N products, in float32. In bfloat16 the activation's input is stored rounded, too.
OpCase one(const Shape& x, std::int64_t outputs, Variant variant) {
  Tensors inputs = {random(x, 1), random({outputs, x.back()}, 2)};
  std::vector<bool> parameter = {false, true};
  if (variant.bias) {
    inputs.push_back(random({outputs}, 3));
    parameter.push_back(true);
  }
  const double longest =
      static_cast<double>(std::max({x.back(), outputs, x.numel() / std::max<std::int64_t>(x.back(), 1)}));
  // Weights are rounded to bfloat16 inside, which moves every term of a sum.
  return {x.str() + " to " + std::to_string(outputs),
          runs(variant, false),
          inputs,
          {6 + 2 * std::sqrt(longest), 8 + 2 * longest},
          parameter};
}

std::vector<OpCase> small() {
  std::vector<OpCase> all;
  for (std::int64_t n = 1; n <= 40; ++n)
    all.push_back(one({n, (n * 7) % 19 + 1}, (n * 5) % 23 + 1, {n % 2 == 0}));
  for (const Activation activation :
       {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu})
    all.push_back(one({3, 5}, 4, {true, activation}));
  all.push_back(one({2, 3, 8}, 6, {}));
  all.push_back(one({0, 8}, 6, {}));
  all.push_back(one({8}, 6, {}));
  return all;
}
OpCase large() { return one({530, 70}, 130, {true, Activation::relu}); }
HEADWAY_OP_SUITE(linear, small, large)

std::vector<std::pair<OpCase, testing::Function>> pairs() {
  std::vector<std::pair<OpCase, testing::Function>> all;
  for (const bool bias : {true, false}) {
    for (const Activation activation :
         {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
      for (const Shape& shape : {Shape{3, 17}, Shape{2, 5, 32}, Shape{70, 24}}) {
        all.emplace_back(one(shape, 13, {bias, activation}), runs({bias, activation}, true));
      }
    }
  }
  return all;
}
HEADWAY_OP_COMPOSED(linear, pairs)

TEST(Linear, long_sums_over_tokens_agree_with_the_reference) {
  for (const std::int64_t n : {511, 512, 513, 1037})
    testing::check_reference(one({n, 9}, 7, {}), DType::float32);
}

TEST(Linear, few_rows_and_many_columns_agree_with_the_reference) {
  for (const std::int64_t n : {1, 5, 32}) testing::check_reference(one({n, 40}, 1536, {}), DType::float32);
}

TEST(Linear, widen_gives_float32_from_bfloat16) {
  const Tensor x = random({3, 8}, 1, DType::bfloat16), w = random({5, 8}, 2, DType::float32);
  const Tensor y = linear(x, w, {}, {.widen = true});
  EXPECT_EQ(y.dtype(), DType::float32);
  testing::expect_close(y, linear(cast(x, DType::float64), cast(w, DType::float64)), DType::bfloat16, {6},
                        "widened");
}

TEST(Linear, sees_a_weight_that_was_written) {
  const Tensor x = random({3, 8}, 1, DType::float32), w = random({5, 8}, 2, DType::float32);
  const Tensor before = linear(x, w);
  copy_into(w, random({5, 8}, 3, DType::float32));
  testing::expect_close(linear(x, w), linear(cast(x, DType::float64), cast(w, DType::float64)),
                        DType::float32, {0, 16}, "after");
}

TEST(Linear, what_does_not_fit_is_refused_by_name) {
  const auto message = [](const Tensor& x, const Tensor& w, const Tensor& b = {}) -> std::string {
    try {
      linear(x, w, b);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(message(zeros({2, 8}), zeros({4, 7})),
              HasSubstr("x is float32 [2, 8], weight is float32 [4, 7]; want 7 in the last dimension of x"));
  EXPECT_THAT(message(zeros({2, 8}), zeros({4, 8}), zeros({5})), HasSubstr("bias is float32 [5]; want [4]"));
  EXPECT_THAT(message(zeros({2, 8}), zeros({4, 8}, DType::float64)),
              HasSubstr("x is float32, weight float64"));
}

// --- One product for each head
// ------------------------------------------------------------------------------------

OpCase heads_case(const Shape& x, std::int64_t heads, std::int64_t dim, bool sliced, bool bias) {
  OpCase out;
  out.name = x.str() + (sliced ? " sliced" : "");
  out.inputs = {random(x, 1)};
  out.parameter = {false};
  for (std::int64_t h = 0; h < heads; ++h) {
    out.inputs.push_back(
        random({dim, sliced ? x.back() / heads : x.back()}, 10 + static_cast<std::uint64_t>(h)));
    out.parameter.push_back(true);
  }
  for (std::int64_t h = 0; bias && h < heads; ++h) {
    out.inputs.push_back(random({dim}, 30 + static_cast<std::uint64_t>(h)));
    out.parameter.push_back(true);
  }
  const double longest =
      static_cast<double>(std::max({x.back(), heads * dim, x.numel() / std::max<std::int64_t>(x.back(), 1)}));
  out.tolerance = {6 + 2 * std::sqrt(longest), 8 + 2 * longest};
  out.run = [heads, sliced, bias](const Tensors& in) {
    const auto begin = in.begin() + 1;
    return Tensors{linear_heads(in[0], {begin, begin + heads},
                                bias ? Tensors(begin + heads, in.end()) : Tensors(), sliced)};
  };
  return out;
}
std::vector<OpCase> heads_small() {
  return {heads_case({3, 8}, 2, 5, false, true), heads_case({2, 3, 8}, 4, 3, true, true),
          heads_case({7, 6}, 3, 2, true, false), heads_case({2, 2, 5}, 1, 4, false, false),
          heads_case({0, 6}, 3, 2, false, true)};
}
OpCase heads_large() { return heads_case({530, 64}, 4, 24, false, true); }
HEADWAY_OP_SUITE(linear_heads, heads_small, heads_large)

TEST(LinearHeads, is_the_rows_of_one_combined_product) {
  const Tensor x = random({20, 12}, 1, DType::float64), w = random({8, 12}, 2, DType::float64);
  const Tensor whole = linear(x, w);
  const Tensor split = linear_heads(x, {slice(w, 0, 0, 4), slice(w, 0, 4, 8)}, {});
  testing::expect_bitwise_equal(reshape(split, {20, 8}), whole, "heads");
}

TEST(LinearHeads, refuses_heads_of_unequal_shape) {
  EXPECT_THROW(linear_heads(zeros({2, 8}), {zeros({4, 8}), zeros({3, 8})}, {}), Error);
  EXPECT_THROW(linear_heads(zeros({2, 9}), {zeros({4, 4}), zeros({4, 4})}, {}, true), Error);
  EXPECT_THROW(linear_heads(zeros({2, 8}), {}, {}), Error);
}

// --- Matrix products
// ----------------------------------------------------------------------------------------------

OpCase product(const Shape& a, const Shape& b) {
  const double longest = static_cast<double>(std::max({a[-1], a[-2], b[-1]}));
  return {a.str() + "·" + b.str(),
          [](const Tensors& in) { return Tensors{matmul(in[0], in[1])}; },
          {random(a, 1), random(b, 2)},
          {6, 8 + 4 * longest}};
}
std::vector<OpCase> products() {
  return {product({3, 4}, {4, 5}),    product({2, 3, 4}, {2, 4, 5}),
          product({2, 3, 4}, {4, 5}), product({1, 2, 3, 4}, {5, 1, 4, 2}),
          product({3, 17}, {17, 1}),  product({0, 4}, {4, 3})};
}
OpCase large_product() { return product({2, 200, 70}, {70, 90}); }
HEADWAY_OP_SUITE(matmul, products, large_product)

}  // namespace
}  // namespace headway
