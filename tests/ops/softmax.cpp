#include <headway/ops/softmax.h>

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;
constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<OpCase> over_rows(Tensor (*op)(const Tensor&), testing::Tolerance tolerance) {
  std::vector<OpCase> cases;
  const auto add_case = [&](const Shape& shape) {
    cases.push_back({shape.str(),
                     [op](const Tensors& in) { return Tensors{op(in[0])}; },
                     {random(shape, 1, DType::float64, 3)},
                     tolerance});
  };
  for (std::int64_t n = 1; n <= 40; ++n) add_case({2, n});
  for (std::int64_t n = 63; n <= 65; ++n) add_case({n});
  add_case({2, 3, 9});
  add_case({0, 9});
  return cases;
}
OpCase large(Tensor (*op)(const Tensor&)) {
  return {"large", [op](const Tensors& in) { return Tensors{op(in[0])}; }, {random({300, 133}, 1)}, {}};
}

// The exponential, the sum and the division: few roundings. Gradients y·(dy - Σ dy·y) start from the stored,
// rounded y and are differences of values as large as dy, about 1.
std::vector<OpCase> softmax_small() { return over_rows(softmax, {4, 16, 1}); }
OpCase softmax_large() { return large(softmax); }
HEADWAY_OP_SUITE(softmax, softmax_small, softmax_large)
// x - max - log Σ: y up to 15 stored in bfloat16 moves exp(y) in the backward pass by 15 roundings, times the
// sum of the row's gradients, which is a few times the largest.
std::vector<OpCase> log_softmax_small() { return over_rows(log_softmax, {32, 32, 1}); }
OpCase log_softmax_large() { return large(log_softmax); }
HEADWAY_OP_SUITE(log_softmax, log_softmax_small, log_softmax_large)

TEST(Softmax, row_of_minus_infinity_gives_zeros_and_gradients_of_zero) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    for (const std::int64_t n : {1, 7, 16, 33}) {
      const Tensor x = require_grad(full({2, n}, -kInf, dtype));
      const Tensor y = softmax(x), z = log_softmax(x);
      for (const double value : testing::values_of(y)) EXPECT_EQ(value, 0);
      for (const double value : testing::values_of(z)) EXPECT_EQ(value, -kInf);
      y.backward(ones({2, n}, dtype));
      z.backward(ones({2, n}, dtype));
      for (const double value : testing::values_of(x.grad())) EXPECT_EQ(value, 0);
    }
  }
}

TEST(Softmax, elements_of_minus_infinity_take_no_part) {
  std::vector<float> values(37, -std::numeric_limits<float>::infinity());
  values[3] = values[36] = 2;
  const auto y = softmax(from(values, {37})).to_vector<float>();
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], i == 3 || i == 36 ? 0.5f : 0.0f);
}

TEST(Softmax, large_values_do_not_overflow) {
  const auto y = softmax(from<float>({3e38f, -3e38f, 3e38f}, {3})).to_vector<float>();
  EXPECT_THAT(y, ::testing::ElementsAre(0.5f, 0.0f, 0.5f));
}

TEST(Softmax, a_nan_is_not_hidden) {
  for (const std::size_t place : {0u, 5u, 31u, 36u}) {
    std::vector<float> values(37, 1);
    values[place] = std::nanf("");
    for (const float value : softmax(from(values, {37})).to_vector<float>()) EXPECT_TRUE(std::isnan(value));
  }
}

std::vector<OpCase> top_k_small() {
  std::vector<OpCase> cases;
  for (const auto& [shape, k] : std::vector<std::pair<Shape, std::int64_t>>{{{2, 1}, 1},
                                                                            {{2, 9}, 3},
                                                                            {{3, 40}, 40},
                                                                            {{2, 2, 65}, 5},
                                                                            {{0, 9}, 2},
                                                                            {{2, 100}, 70},
                                                                            {{2, 9}, 0}}) {
    OpCase op{shape.str(),
              [k = k](const Tensors& in) {
                const TopK top = top_k(in[0], k);
                return Tensors{top.values, top.indices};
              },
              {random(shape, 1)}};
    op.differentiable = false;
    cases.push_back(op);
  }
  return cases;
}
OpCase top_k_large() {
  OpCase op = top_k_small()[1];
  op.inputs = {random({50, 1000}, 1)};
  return op;
}
HEADWAY_OP_SUITE_WITHOUT_GRADIENT(top_k, top_k_small, top_k_large)
HEADWAY_OP_CHECK(top_k, reference) {
  // Few different values, so that ties decide; against a stable sort.
  for (const std::int64_t n : {1, 5, 16, 17, 100, 1000}) {
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{4}, std::int64_t{64}, std::int64_t{65}, n}) {
      if (k > n) continue;
      for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
        const Tensor x = cast(testing::random_ids({2, n}, 30, static_cast<std::uint64_t>(n)), dtype);
        const TopK top = top_k(x, k);
        const auto values = testing::values_of(x), got = testing::values_of(top.values);
        const auto indices = top.indices.to_vector<std::int32_t>();
        for (std::int64_t row = 0; row < 2; ++row) {
          std::vector<std::int32_t> order(static_cast<std::size_t>(n));
          std::iota(order.begin(), order.end(), 0);
          const double* data = values.data() + row * n;
          std::stable_sort(order.begin(), order.end(), [data](auto a, auto b) { return data[a] > data[b]; });
          for (std::int64_t i = 0; i < k; ++i) {
            const auto at = static_cast<std::size_t>(row * k + i);
            ASSERT_EQ(indices[at], order[static_cast<std::size_t>(i)]) << n << " " << k;
            ASSERT_EQ(got[at], data[indices[at]]);
          }
        }
      }
    }
  }
}

TEST(TopK, nan_comes_last) {
  const float nan = std::nanf("");
  const auto top = top_k(from<float>({nan, 1, nan, 3, 2}, {5}), 5);
  EXPECT_THAT(top.indices.to_vector<std::int32_t>(), ::testing::ElementsAre(3, 4, 1, 0, 2));
}

TEST(TopK, k_beyond_the_row_is_refused) {
  EXPECT_THROW(top_k(zeros({2, 3}), 4), Error);
  EXPECT_THROW(top_k(zeros({2, 3}), -1), Error);
}

}  // namespace
}  // namespace headway
