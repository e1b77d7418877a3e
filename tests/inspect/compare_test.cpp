#include <headway/inspect/compare.h>

#include <gtest/gtest.h>

#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/inspect/layer_cost.h>

namespace headway::inspect {
namespace {

constexpr std::int64_t kBatch = 2, kLength = 24, kDim = 32, kHeads = 4;

// Outputs are of size 1: products of 32 (with 32·2 in the scores) float32 terms, in another order in the
// other layout.
constexpr double kRounding = 8 * 32 * 0x1p-24;

TEST(Compare, every_kind_with_equal_weights_is_the_combined_layer) {
  const auto rows = compare_heads({kBatch, kLength, kDim, kHeads}, 1);
  ASSERT_EQ(rows.size(), 5u);
  for (const CompareRow& row : rows) {
    EXPECT_EQ(row.difference.has_value(), row.kind != Heads::single) << name_of(row.kind);
    if (row.difference) {
      EXPECT_LE(*row.difference, kRounding) << name_of(row.kind);
    }
    EXPECT_GT(row.training_seconds, 0);
    EXPECT_GT(row.forward_seconds, 0);
    EXPECT_GT(row.peak_bytes, kBatch * kLength * kDim * 4) << "the output alone is as large";
  }
}

TEST(Compare, counts_parameters_and_operations) {
  const auto rows = compare_heads({kBatch, kLength, kDim, kHeads}, 1);
  const double tokens = kBatch * kLength;
  const double projections = 2 * tokens * kDim * kDim * 4;
  const double pairs = static_cast<double>(kBatch) * kLength * kLength;
  const double inner = 4 * pairs * kDim + 4 * pairs * kHeads;
  const std::int64_t whole = 4 * (kDim * kDim + kDim);
  EXPECT_EQ(rows[0].parameters, whole);
  EXPECT_EQ(rows[1].parameters, whole);
  EXPECT_EQ(rows[2].parameters, whole - 3 * (kDim * kDim - kDim * kDim / kHeads));
  EXPECT_EQ(rows[3].parameters, whole);
  EXPECT_EQ(rows[4].parameters, 0);
  EXPECT_EQ(rows[0].operations, projections + inner);
  EXPECT_EQ(rows[1].operations, projections + inner);
  EXPECT_EQ(rows[2].operations, projections / 4 * (3.0 / kHeads + 1) + inner);
  EXPECT_EQ(rows[3].operations, projections + 4 * pairs * kDim + 4 * pairs);
  EXPECT_EQ(rows[4].operations, inner);
}

TEST(Compare, combined_and_split_agree_forward_and_backward) {
  const EqualityCheck check = check_equality({kBatch, kLength, kDim, kHeads});
  EXPECT_LE(check.output, kRounding);
  // Input gradients add three products; weight gradients add up kBatch·kLength rows.
  EXPECT_LE(check.input_gradient, 4 * kRounding);
  EXPECT_LE(check.weight_gradient, 4 * kRounding * kBatch * kLength / 32);
}

TEST(Compare, sizes_must_make_sense) {
  EXPECT_THROW(compare_heads({1, 8, 30, 4}, 1), Error);
  EXPECT_THROW(compare_heads({0, 8, 32, 4}, 1), Error);
  EXPECT_THROW(check_equality({1, 8, 32, 0}), Error);
}

TEST(HeadsLayer, returns_weights_of_every_kind) {
  for (const Heads kind : kAllHeads) {
    Generator generator(3);
    HeadsLayer layer(kind, kDim, kHeads, generator);
    const Tensor x = randn({kBatch, kLength, kDim}, generator);
    const auto seen = layer(x, {.mask = Mask::causal(),
                                .bias = {},
                                .query_offsets = {},
                                .key_offsets = {},
                                .weights = Weights::per_head});
    const std::int64_t heads = kind == Heads::single ? 1 : kHeads;
    EXPECT_EQ(seen.weights.shape().str(), (Shape{kBatch, heads, kLength, kLength}).str()) << name_of(kind);
    EXPECT_EQ(seen.output.shape().str(), x.shape().str());
    // The first query sees the first key alone: exp(s - lse) with lse rounded to float32, |s| below 32.
    EXPECT_NEAR(seen.weights.data<float>()[0], 1, 32 * 0x1p-23);
    EXPECT_EQ(seen.weights.data<float>()[1], 0);
  }
}

TEST(LayerCost, is_the_account_of_the_article) {
  const LayerCost cost = layer_cost({.batch = 3, .length = 100, .model_dim = 64, .heads = 4, .head_dim = 8});
  const double n = 100, c = 64, h = 4, d = 8, batch = 3;
  ASSERT_EQ(cost.parts.size(), 5u);
  EXPECT_EQ(cost.parts[0].operations, batch * 2 * n * c * 3 * h * d);
  EXPECT_EQ(cost.parts[1].operations, batch * 2 * h * n * n * d);
  EXPECT_EQ(cost.parts[2].operations, batch * 4 * h * n * n);
  EXPECT_EQ(cost.parts[3].operations, batch * 2 * h * n * n * d);
  EXPECT_EQ(cost.parts[4].operations, batch * 2 * n * h * d * c);
  EXPECT_EQ(cost.parts[0].bytes, 4 * (batch * n * (c + 3 * h * d) + 3 * h * d * c));
  EXPECT_EQ(cost.unfused_bytes, 4 * batch * h * n * n);
  EXPECT_EQ(cost.operations(), batch * (8 * n * c * h * d + h * n * n * (4 * d + 4)));
}

TEST(LayerCost, operations_are_equal_where_attention_overtakes_the_projections) {
  // d = 7 and C = 64 meet at a whole number: 2·64·7/8 = 112.
  const LayerCost cost = layer_cost({.length = 112, .model_dim = 64, .heads = 4, .head_dim = 7});
  EXPECT_EQ(cost.overtaking_length, 112);
  EXPECT_EQ(cost.parts[1].operations + cost.parts[2].operations + cost.parts[3].operations,
            cost.parts[0].operations + cost.parts[4].operations);
}

TEST(LayerCost, prices_what_no_memory_could_hold) {
  const LayerCost cost = layer_cost({.length = 1'000'000, .model_dim = 16384, .heads = 128});
  EXPECT_EQ(cost.parts[1].operations, 2.0 * 16384 * 1e12);
  EXPECT_EQ(cost.shape.head_dim, 128);
}

TEST(LayerCost, names_what_does_not_fit) {
  try {
    layer_cost({.length = 10, .model_dim = 30, .heads = 4});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "layer_cost: dim 30 is not divisible by 4 heads; want a divisor, or the head dimension given");
  }
  EXPECT_THROW(layer_cost({.length = 0, .model_dim = 32, .heads = 4}), Error);
}

TEST(LayerTimes, measures_all_parts) {
  const LayerTimes times = measure_layer({.length = 32, .model_dim = 32, .heads = 4}, 1);
  EXPECT_GT(times.projections, 0);
  EXPECT_GT(times.attention, 0);
  EXPECT_GT(times.output, 0);
}

}  // namespace
}  // namespace headway::inspect
