// The log-sum-exp of attention() as a differentiable output.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include <headway/ops/composed.h>
#include <support/gradcheck.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

enum class Uses { lse, both };

// What a case adds to plain attention; every query sees a key.
struct Variant {
  std::string name;
  std::int64_t queries = 5, keys = 7;
  AttentionOptions options = {};
  Shape bias = {};           // of a bias with a gradient
  std::int64_t buckets = 0;  // of a T5 table with a gradient
};

AttentionOptions options_for(const Variant& variant, const Tensors& in, Generator& generator) {
  AttentionOptions options = variant.options;
  options.generator = &generator;
  options.log_sum_exp = true;
  if (variant.bias.rank() > 0) options.bias = in[3];
  if (variant.buckets > 0) options.position = Position::t5(in.back(), {.max_distance = 20});
  return options;
}

// The gradient is P times that of the log-sum-exp: what is said of the output's tolerances in attention.cpp
// holds. Log-sum-exps of some units lose as many roundings of scores that are as large.
OpCase case_of(const Variant& variant, Uses uses = Uses::both) {
  const bool packed = !variant.options.query_offsets.empty();
  const auto shape = [&](std::int64_t length, std::int64_t heads, std::int64_t dim) {
    return packed ? Shape{2 * length, heads, dim} : Shape{2, length, heads, dim};
  };
  OpCase out;
  out.name = variant.name + (uses == Uses::lse ? ", log-sum-exp alone" : "");
  out.inputs = {random(shape(variant.queries, 4, 5), 1), random(shape(variant.keys, 2, 5), 2),
                random(shape(variant.keys, 2, 3), 3)};
  out.parameter = {false, false, false};
  if (variant.bias.rank() > 0) out.inputs.push_back(random(variant.bias, 4));
  if (variant.buckets > 0) out.inputs.push_back(random({variant.buckets, 4}, 5));
  out.parameter.resize(out.inputs.size(), true);
  out.tolerance = {6, 80, 2 * std::sqrt(3.0)};
  out.run = [=](const Tensors& in) {
    Generator generator(11);
    const AttentionResult got = attention(in[0], in[1], in[2], options_for(variant, in, generator));
    return uses == Uses::lse ? Tensors{got.log_sum_exp} : Tensors{got.output, got.log_sum_exp};
  };
  return out;
}

std::vector<Variant> variants() {
  return {
      {.name = "plain"},
      {.name = "one query", .queries = 1, .keys = 9},
      {.name = "causal", .options = {.mask = Mask::causal()}},
      {.name = "sparse", .options = {.mask = Mask::strided(3) | Mask::global({0})}},
      {.name = "padding", .options = {.mask = Mask::padding({7, 4})}},
      {.name = "dropout", .options = {.dropout = 0.3}},
      {.name = "bias", .bias = {4, 5, 7}},
      {.name = "shared bias, softcap", .options = {.softcap = 1.5}, .bias = {1, 4, 1, 7}},
      {.name = "t5", .options = {.mask = Mask::causal()}, .buckets = 8},
      {.name = "packed",
       .queries = 6,
       .keys = 8,
       .options = {.mask = Mask::causal(), .query_offsets = {0, 4, 4, 12}, .key_offsets = {0, 5, 8, 16}}},
  };
}

TEST(AttentionLogSumExp, is_the_oracles_with_its_gradients) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const Variant& variant : variants()) {
      testing::check_reference(case_of(variant), dtype);
    }
    // Around the tiles' edges, and cut in ranges of keys.
    for (const std::int64_t n : {15, 64, 65, 97, 1100}) {
      const Variant edge{.name = "edge",
                         .queries = std::min<std::int64_t>(n, 70),
                         .keys = n,
                         .options = {.mask = Mask::causal()}};
      testing::check_reference(case_of(edge), dtype);
    }
  }
}

TEST(AttentionLogSumExp, has_the_gradients_that_differences_say) {
  for (const Variant& variant : variants()) testing::gradcheck(case_of(variant));
}

TEST(AttentionLogSumExp, equals_its_composition) {
  for (const Variant& variant : variants()) {
    if (variant.name == "padding") continue;  // the composition takes keys by their lengths
    const auto composed = [=](const Tensors& in) {
      Generator one(11), other(11);
      return Tensors{composed::attention(in[0], in[1], in[2], options_for(variant, in, one)),
                     composed::attention_log_sum_exp(in[0], in[1], in[2], options_for(variant, in, other))};
    };
    for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16})
      testing::check_composed(case_of(variant), composed, dtype);
  }
}

TEST(AttentionLogSumExp, may_be_used_without_the_output) {
  for (const Variant& variant : variants()) {
    OpCase alone = case_of(variant, Uses::lse);
    // Values receive a gradient of 0 whatever they are: nothing for differences to measure.
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
      const auto got = testing::evaluate(alone, testing::inputs_as(alone, dtype));
      for (const double value : testing::values_of(got.gradients[2])) EXPECT_EQ(value, 0);
    }
    testing::check_reference(alone, DType::float32);
    testing::gradcheck(alone);
    testing::check_meta(alone, DType::float32);
  }
}

TEST(AttentionLogSumExp, has_the_same_bits_for_any_number_of_threads) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    testing::check_threads(case_of({.name = "ranges", .queries = 70, .keys = 1100}), dtype);
    testing::check_threads(
        case_of({.name = "t5", .queries = 70, .keys = 90, .options = {.dropout = 0.1}, .buckets = 8}), dtype);
  }
}

// Gradients of q, k and v where the log-sum-exp's is `seed` [B, H, T].
Tensors gradients(const Tensors& in, const AttentionOptions& options, const Tensor& seed) {
  Tensors leaves;
  for (const Tensor& x : in) leaves.push_back(require_grad(x.detach()));
  attention(leaves[0], leaves[1], leaves[2], options).log_sum_exp.backward(seed);
  return {leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

TEST(AttentionLogSumExp, of_a_row_that_sees_nothing_has_gradients_of_zero_whatever_flows_back) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    const Tensors in = {random({1, 3, 2, 8}, 1, dtype), random({1, 4, 2, 8}, 2, dtype),
                        random({1, 4, 2, 8}, 3, dtype)};
    const Tensor hidden = full({3, 4}, 0, DType::boolean);
    for (int j = 0; j < 4; ++j) hidden.data<bool>()[4 + j] = true;
    const AttentionOptions options{.mask = Mask::deny(hidden), .log_sum_exp = true};
    const DType wide = dtype == DType::float64 ? dtype : DType::float32;
    const Tensor zero = zeros({1, 2, 3}, DType::float64);
    for (const double value : {3.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
      const Tensor seed = from(zero.to_vector<double>(), zero.shape());
      seed.data<double>()[1] = seed.data<double>()[4] = value;  // query 1 of both heads
      for (const Tensor& gradient : gradients(in, options, cast(seed, wide))) {
        for (const double element : testing::values_of(gradient)) EXPECT_EQ(element, 0) << value;
      }
    }
  }
}

TEST(AttentionLogSumExp, takes_a_nan_back_to_the_keys_that_were_seen_alone) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensors in = {random({1, 6, 1, 4}, 1, dtype), random({1, 6, 1, 4}, 2, dtype),
                        random({1, 6, 1, 4}, 3, dtype)};
    const Tensor seed = full({1, 1, 6}, 1, DType::float64);
    seed.data<double>()[2] = std::nan("");
    const Tensors got = gradients(in, {.mask = Mask::causal(), .log_sum_exp = true}, cast(seed, dtype));
    for (std::int64_t row = 0; row < 6; ++row) {
      const auto nan_in = [&](const Tensor& x) {
        return std::isnan(testing::values_of(slice(x, 1, row, row + 1))[0]);
      };
      EXPECT_EQ(nan_in(got[0]), row == 2) << "query " << row;
      EXPECT_EQ(nan_in(got[1]), row <= 2) << "key " << row;
    }
  }
}

// d lse_i / d q_i = scale · Σ_j P_ij k_j: the mean of the keys, weighted.
TEST(AttentionLogSumExp, gives_a_query_the_mean_of_its_keys) {
  const Tensor q = random({2, 3, 2, 4}, 1), k = random({2, 5, 2, 4}, 2), v = random({2, 5, 2, 4}, 3);
  const Tensors got =
      gradients({q, k, v}, {.scale = 0.5, .log_sum_exp = true}, ones({2, 2, 3}, DType::float64));
  const auto mean = testing::values_of(attention(q, k, k, {.scale = 0.5}).output);
  const auto dq = testing::values_of(got[0]);
  for (std::size_t i = 0; i < dq.size(); ++i) EXPECT_NEAR(dq[i], 0.5 * mean[i], 20 * 0x1p-53);
}

TEST(AttentionLogSumExp, works_where_values_have_no_width) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor q = random({2, 5, 2, 4}, 1, dtype), k = random({2, 6, 2, 4}, 2, dtype);
    const Tensor seed = cast(random({2, 2, 5}, 4), dtype);
    const AttentionOptions options{.mask = Mask::causal(), .log_sum_exp = true};
    const Tensors got = gradients({q, k, zeros({2, 6, 2, 0}, dtype)}, options, seed);
    const Tensors want = gradients({q, k, zeros({2, 6, 2, 3}, dtype)}, options, seed);
    testing::expect_bitwise_equal(got[0], want[0], "dq");
    testing::expect_bitwise_equal(got[1], want[1], "dk");
  }
}

}  // namespace
}  // namespace headway
