#include <headway/kernels/beam.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <headway/core/factory.h>

namespace headway {
namespace {

struct Found {
  std::vector<float> value;
  std::vector<std::int32_t> index;
};

Found top(const std::vector<float>& x, std::int64_t rows, std::int64_t stride, std::int64_t vocabulary,
          std::int64_t k) {
  Found found{std::vector<float>(static_cast<std::size_t>(rows * k)),
              std::vector<std::int32_t>(static_cast<std::size_t>(rows * k))};
  kernels::top_log_probabilities({.logits = x.data(),
                                  .rows = rows,
                                  .vocabulary = vocabulary,
                                  .stride = stride,
                                  .k = k,
                                  .log_probability = found.value.data(),
                                  .index = found.index.data()});
  return found;
}

TEST(TopLogProbabilities, equals_a_sorted_float64_log_softmax) {
  Generator generator(3);
  // Around every multiple of a vector pair, so that each tail is met.
  for (const std::int64_t vocabulary : {1, 2, 7, 16, 31, 32, 33, 63, 64, 65, 1000, 8003}) {
    const std::int64_t rows = 11, stride = vocabulary + 3;
    std::vector<float> x = randn({rows, stride}, generator).to_vector<float>();
    for (float& value : x) value *= 4;
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{8}, vocabulary}) {
      if (k > vocabulary || k > 1000) continue;
      const Found found = top(x, rows, stride, vocabulary, k);
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* row = x.data() + r * stride;
        std::vector<std::int32_t> order(static_cast<std::size_t>(vocabulary));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
        double total = 0;
        for (std::int64_t v = 0; v < vocabulary; ++v) total += std::exp(static_cast<double>(row[v]));
        for (std::int64_t i = 0; i < k; ++i) {
          const auto at = static_cast<std::size_t>(r * k + i);
          ASSERT_EQ(found.index[at], order[static_cast<std::size_t>(i)]);
          const double want = row[found.index[at]] - std::log(total);
          // Roundings of log, of two sums with |x| and log Σ, and of Σ itself, whose error enters the log
          // absolutely: each lane adds up to V/4 terms (four lanes at least).
          const double terms = std::max(8.0, static_cast<double>(vocabulary) / 4);
          ASSERT_NEAR(found.value[at], want, (4 * (std::abs(want) + 20) + terms) * 0x1p-24);
        }
      }
    }
  }
}

TEST(TopLogProbabilities, equal_values_come_in_order_of_their_index) {
  std::vector<float> x(100, 1.f);
  x[70] = 2.f;
  x[80] = 2.f;
  EXPECT_EQ(top(x, 1, 100, 100, 5).index, (std::vector<std::int32_t>{70, 80, 0, 1, 2}));
}

TEST(TopLogProbabilities, minus_infinity_has_probability_zero_and_rows_stay_apart) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> x(3 * 40, -inf);
  x[5] = 3.f;
  for (std::size_t i = 80; i < 120; ++i) x[i] = 1e30f;
  const Found found = top(x, 3, 40, 40, 2);
  EXPECT_EQ(found.value[0], 0.f);
  EXPECT_EQ(found.index[0], 5);
  EXPECT_EQ(found.value[1], -inf);
  EXPECT_EQ(found.value[2], -inf);
  // At 1e30 the difference of value and normalizer is below one unit in the last place.
  EXPECT_EQ(found.index[4], 0);
}

TEST(TopLogProbabilities, nan_is_never_picked) {
  std::vector<float> x(64, 0.f);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  x[9] = 1.f;
  EXPECT_EQ(top(x, 1, 64, 64, 2).index, (std::vector<std::int32_t>{9, 0}));
}

}  // namespace
}  // namespace headway
