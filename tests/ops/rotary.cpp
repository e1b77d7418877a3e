#include <headway/ops/rotary.h>

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <utility>

#include <headway/ops/composed.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::expect_bitwise_equal;
using testing::expect_close;
using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

struct Variant {
  std::string name;
  Shape shape;
  RotaryOptions options = {};
};

std::vector<Variant> variants() {
  const Tensor each = from(std::vector<std::int32_t>{7, 0, 7, 100000, -3}, {5});
  const Tensor all = from(std::vector<std::int32_t>{0, 1, 2, 3, 4, 90, 5, 6, 7, -2}, {2, 5});
  std::vector<Variant> out;
  for (const RopePairs pairs : {RopePairs::half_split, RopePairs::interleaved}) {
    const std::string name = pairs == RopePairs::half_split ? "halves" : "interleaved";
    const RopeOptions rope{.pairs = pairs};
    // Pairs below, at and beyond a vector of any width.
    for (const std::int64_t dim : {2, 6, 8, 16, 30, 32, 34, 64, 80})
      out.push_back({name + " D" + std::to_string(dim), {2, 5, 2, dim}, {.rope = rope}});
    out.push_back({name + " partial", {2, 5, 3, 13}, {.rope = {.dims = 6, .pairs = pairs}}});
    out.push_back({name + " scaled", {2, 5, 1, 8}, {.rope = {.base = 500, .pairs = pairs, .scaling = 4}}});
    out.push_back({name + " ids", {2, 5, 2, 8}, {.rope = rope, .position_ids = each}});
    out.push_back({name + " ids of each sequence", {2, 5, 2, 8}, {.rope = rope, .position_ids = all}});
    out.push_back({name + " packed ids", {5, 2, 8}, {.rope = rope, .position_ids = each}});
    out.push_back({name + " starts", {2, 5, 2, 8}, {.rope = rope, .starts = {-2, 70}}});
    out.push_back({name + " one start", {2, 5, 2, 8}, {.rope = rope, .starts = {60}}});
    out.push_back(
        {name + " packed", {7, 2, 10}, {.rope = rope, .starts = {3, 9, 0}, .offsets = {0, 5, 5, 7}}});
  }
  return out;
}

// y is the sum of two products with numbers below 1: two roundings of the cosine and sine, two of products,
// one of the sum, each at most that of |x_a| + |x_b|: 10 of the largest x would do, and the largest result is
// nearly as large. Angles err by 1e-16 of themselves, 1e-11 at most here.
OpCase one(const Variant& variant) {
  return {variant.name,
          [options = variant.options](const Tensors& in) { return Tensors{rotary(in[0], options)}; },
          {random(variant.shape, 1)},
          {0, 12}};
}

std::vector<OpCase> small() {
  std::vector<OpCase> all;
  for (const Variant& variant : variants()) all.push_back(one(variant));
  return all;
}
OpCase large() { return one({"large", {3, 211, 8, 64}, {.starts = {0, 5, 1000}}}); }

HEADWAY_OP_SUITE(rotary, small, large)

std::vector<std::pair<OpCase, testing::Function>> composition() {
  std::vector<std::pair<OpCase, testing::Function>> all;
  for (const Variant& variant : variants()) {
    OpCase test = one(variant);
    // Both take the cosine of an angle up to 100000 in float64: half an ulp of the angle is 2^-37.
    test.tolerance.floor = 1;
    all.emplace_back(test, [options = variant.options](const Tensors& in) {
      return Tensors{composed::rotary(in[0], options)};
    });
  }
  return all;
}
HEADWAY_OP_COMPOSED(rotary, composition)

// Half an ulp of float32 from the cosine, and 1e-11 from the angle: nothing is left of the position's size.
TEST(Rotary, far_positions_turn_as_exactly_as_near_ones) {
  const RopeOptions rope;
  const Tensor x = ones({1, 1, 1, 64});
  for (int m = 0; m < 32; ++m) x.data<float>()[32 + m] = 0;  // the pair (1, 0) becomes (cos, sin)
  for (const std::int64_t p : {0L, 1L, 63L, 64L, 65L, 4097L, 131071L, 999999L, -1L, -64L, -100001L}) {
    const auto y = rotary(x, {.rope = rope, .starts = {p}}).to_vector<float>();
    for (int m = 0; m < 32; ++m) {
      const long double angle = static_cast<long double>(p) * std::pow(10000.0L, -2 * m / 64.0L);
      const auto at = static_cast<std::size_t>(m);
      const double rounding = 0x1p-25 + static_cast<double>(std::abs(angle)) * 0x1p-51 + 0x1p-50;
      EXPECT_NEAR(static_cast<double>(y[at]), static_cast<double>(std::cos(angle)), rounding)
          << p << ' ' << m;
      EXPECT_NEAR(static_cast<double>(y[32 + at]), static_cast<double>(std::sin(angle)), rounding)
          << p << ' ' << m;
    }
  }
}

// Scores q·k of all pairs of rows, [T, T], of heads [1, T, 1, D].
std::vector<double> scores(const Tensor& q, const Tensor& k) {
  const std::int64_t rows = q.size(1), dim = q.size(3);
  const auto a = testing::values_of(q), b = testing::values_of(k);
  std::vector<double> out;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < rows; ++j) {
      double sum = 0;
      for (std::int64_t c = 0; c < dim; ++c)
        sum += a[static_cast<std::size_t>(i * dim + c)] * b[static_cast<std::size_t>(j * dim + c)];
      out.push_back(sum);
    }
  }
  return out;
}

TEST(Rotary, scores_depend_on_the_distance_alone) {
  const std::int64_t dim = 32;
  const Tensor q = random({1, 20, 1, dim}, 1, DType::float32), k = random({1, 20, 1, dim}, 2, DType::float32);
  for (const RopePairs pairs : {RopePairs::half_split, RopePairs::interleaved}) {
    const auto at = [&](std::int64_t start) {
      const RotaryOptions options{.rope = {.pairs = pairs}, .starts = {start}};
      return scores(rotary(q, options), rotary(k, options));
    };
    const auto near = at(0);
    for (const std::int64_t start : {1, 64, 100000}) {
      const auto far = at(start);
      // Each of the two rotated rows errs by 5 roundings of its length (see above); a score of two rows by 10
      // of the product of their lengths, each about sqrt(D) and surely below 2·sqrt(D). Twice, for two
      // scores.
      for (std::size_t i = 0; i < near.size(); ++i)
        EXPECT_NEAR(far[i], near[i], 2 * 10 * 0x1p-24 * 4 * dim) << start << ' ' << i;
    }
    // And they do depend on it.
    const auto unequal =
        scores(rotary(q, {.rope = {.pairs = pairs}, .starts = {3}}), rotary(k, {.rope = {.pairs = pairs}}));
    EXPECT_GT(std::abs(unequal[0] - near[0]), 0.01);
  }
}

TEST(Rotary, interleaved_pairs_are_half_split_ones_in_another_order_of_columns) {
  const std::int64_t dim = 40, dims = 36;
  const Tensor x = random({2, 9, 3, dim}, 1, DType::float32);
  // Column 2m of the interleaved order is column m of the halves', 2m + 1 is m + dims/2.
  const auto interleaved = [&](const Tensor& halves) {
    const Tensor turning = reshape(slice(halves, -1, 0, dims), {2, 9, 3, 2, dims / 2});
    const Tensor mixed = reshape(contiguous(transpose(turning, -1, -2)), {2, 9, 3, dims});
    return contiguous(concat({mixed, slice(halves, -1, dims, dim)}, -1));
  };
  const Tensor want = interleaved(rotary(x, {.rope = {.dims = dims}}));
  const Tensor got = rotary(interleaved(x), {.rope = {.dims = dims, .pairs = RopePairs::interleaved}});
  // -b·s + a·c is computed as b·(-s) + a·c: the same roundings.
  expect_bitwise_equal(got, want, "interleaved");
}

TEST(Rotary, columns_beyond_dims_are_copied_and_position_zero_changes_nothing) {
  const Tensor x = random({1, 6, 2, 20}, 1, DType::bfloat16);
  const Tensor y = rotary(x, {.rope = {.dims = 8}});
  expect_bitwise_equal(contiguous(slice(y, -1, 8, 20)), contiguous(slice(x, -1, 8, 20)), "copied columns");
  expect_bitwise_equal(slice(y, 1, 0, 1), slice(x, 1, 0, 1), "row 0");
  EXPECT_NE(slice(y, 1, 1, 2).to_vector<bfloat16>()[0].bits, slice(x, 1, 1, 2).to_vector<bfloat16>()[0].bits);
}

TEST(Rotary, scaling_puts_positions_closer_together) {
  const Tensor x = random({1, 9, 2, 16}, 1, DType::float64);
  const Tensor slow = rotary(x, {.rope = {.scaling = 4}});
  const Tensor ids = from(std::vector<std::int32_t>{0, 4, 8, 12, 16, 20, 24, 28, 32}, {9});
  expect_bitwise_equal(rotary(x, {.rope = {.scaling = 4}, .position_ids = ids}), rotary(x), "every fourth");
  EXPECT_NE(slow.to_vector<double>(), rotary(x).to_vector<double>());
}

TEST(Rotary, packed_rows_padded_rows_and_ids_give_the_same_bits) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    const Tensor x = random({2, 150, 2, 24}, 1, dtype);
    const Tensor padded = rotary(x, {.starts = {0, 77}});
    const Tensor rows =
        concat({slice(reshape(x, {300, 2, 24}), 0, 0, 40), slice(reshape(x, {300, 2, 24}), 0, 150, 300)}, 0);
    const Tensor packed = rotary(rows, {.starts = {0, 77}, .offsets = {0, 40, 190}});
    expect_bitwise_equal(slice(packed, 0, 0, 40),
                         reshape(slice(slice(padded, 0, 0, 1), 1, 0, 40), {40, 2, 24}), "first");
    expect_bitwise_equal(slice(packed, 0, 40, 190), reshape(slice(padded, 0, 1, 2), {150, 2, 24}), "second");
    // One row by itself: what a line of the table holds does not hang on its neighbours.
    expect_bitwise_equal(rotary(contiguous(slice(x, 1, 100, 101)), {.starts = {100, 177}}),
                         contiguous(slice(padded, 1, 100, 101)), "one row");
    std::vector<std::int32_t> ids(150);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
    expect_bitwise_equal(rotary(x, {.position_ids = from(ids, {150})}), rotary(x), "ids");
  }
}

TEST(Rotary, a_nan_stays_in_its_row_head_and_pair) {
  for (const RopePairs pairs : {RopePairs::half_split, RopePairs::interleaved}) {
    const Tensor x = random({1, 4, 2, 12}, 1, DType::float32), bad = from(x.to_vector<float>(), x.shape());
    bad.data<float>()[2 * 24 + 12 + 3] = std::numeric_limits<float>::quiet_NaN();  // row 2, head 1, column 3
    const auto clean = rotary(x, {.rope = {.pairs = pairs}}).to_vector<float>(),
               got = rotary(bad, {.rope = {.pairs = pairs}}).to_vector<float>();
    const std::size_t other = pairs == RopePairs::half_split ? 9 : 2;
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (i == 60 + 3 || i == 60 + other) {
        EXPECT_TRUE(std::isnan(got[i])) << i;
      } else {
        EXPECT_EQ(got[i], clean[i]) << i;
      }
    }
  }
}

TEST(Rotary, nothing_to_rotate_is_fine) {
  for (const Shape& shape : {Shape{0, 3, 2, 4}, Shape{2, 0, 2, 4}, Shape{2, 3, 0, 4}, Shape{2, 3, 2, 0}})
    EXPECT_EQ(rotary(zeros(shape)).shape().str(), shape.str());
  EXPECT_EQ(rotary(zeros({0, 2, 4}), {.offsets = {0}}).numel(), 0);
}

TEST(Rotary, what_does_not_fit_is_refused_by_name) {
  const auto message = [](const Tensor& x, const RotaryOptions& options) -> std::string {
    try {
      rotary(x, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using ::testing::HasSubstr;
  const Tensor x = zeros({2, 5, 3, 8});
  EXPECT_EQ(message(zeros({2, 5, 3, 7}), {}),
            "rotary: heads have dimension 7, and columns turn in pairs; want an even one, or dims given");
  EXPECT_EQ(message(x, {.rope = {.dims = 10}}),
            "rotary: dims is 10, heads have dimension 8; want at most that");
  EXPECT_EQ(message(x, {.rope = {.dims = 3}}),
            "rotary: dims is 3; want an even number of columns (they turn in pairs), or 0 for all");
  EXPECT_EQ(message(x, {.rope = {.base = 0}}), "rotary: base is 0; want a positive number");
  EXPECT_THAT(message(x, {.rope = {.base = std::nan("")}}), HasSubstr("base is nan; want"));
  EXPECT_EQ(message(x, {.rope = {.scaling = -1}}), "rotary: scaling is -1; want a positive number");
  EXPECT_EQ(message(x, {.position_ids = zeros({4}, DType::int32)}),
            "rotary: position_ids are int32 [4] for x float32 [2, 5, 3, 8]; want [5] or [2, 5]");
  EXPECT_EQ(message(x, {.position_ids = zeros({5}, DType::int64)}),
            "rotary: position_ids are int64 [5]; want int32 (cast them)");
  EXPECT_THAT(message(x, {.position_ids = zeros({5}, DType::int32), .starts = {1}}),
              HasSubstr("want one of them"));
  EXPECT_EQ(message(x, {.starts = {1, 2, 3}}), "rotary: 3 starts for 2 sequences; want one, or one for each");
  EXPECT_THAT(message(x, {.offsets = {0, 2}}), HasSubstr("want them with packed [N, H, D] alone"));
  EXPECT_EQ(message(zeros({5, 3, 8}), {.offsets = {0, 6}}),
            "rotary: offsets are [0, 6] for x float32 [5, 3, 8], packed; want them rising from 0 to 5, or "
            "position_ids");
  EXPECT_THAT(message(zeros({5, 3, 8}), {}), HasSubstr("offsets are [] for x"));
  EXPECT_THAT(message(zeros({5, 8}), {}), HasSubstr("x is float32 [5, 8]; want [B, T, H, D]"));
  EXPECT_THAT(message(zeros({2, 5, 3, 8}, DType::int32), {}), HasSubstr("want float32, bfloat16 or float64"));
}

}  // namespace
}  // namespace headway
