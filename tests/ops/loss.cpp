#include <headway/ops/loss.h>

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include <headway/core/allocator.h>
#include <headway/ops/composed.h>
#include <headway/ops/softmax.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using testing::random_ids;
using Tensors = std::vector<Tensor>;

using Loss = Tensor (*)(const Tensor&, const Tensor&, const CrossEntropyOptions&);
testing::Function runs(Loss loss, const Tensor& targets, const CrossEntropyOptions& options) {
  return [=](const Tensors& in) { return Tensors{loss(in[0], targets, options)}; };
}

// Losses are sums in float64 of logarithms whose sums are float32: a few roundings. The gradient is (p -
// q)/rows times an upstream gradient of about 1, and may cancel.
OpCase one(const Shape& shape, const CrossEntropyOptions& options, bool some_ignored) {
  const Tensor targets = random_ids({shape[0]}, shape[1], 3);
  if (some_ignored && shape[0] > 1) targets.data<std::int32_t>()[1] = options.ignore_index;
  return {shape.str(),
          runs(cross_entropy, targets, options),
          {random(shape, 1, DType::float64, 2)},
          {2, 16, 1 / std::max(1.0, static_cast<double>(shape[0]))}};
}

std::vector<OpCase> small() {
  std::vector<OpCase> cases;
  for (std::int64_t n = 1; n <= 40; ++n) {
    cases.push_back(
        one({3, n}, {.label_smoothing = n % 2 ? 0.1 : 0, .divisor = n % 3 ? 0.0 : 7.5}, n % 4 == 0));
  }
  for (std::int64_t n = 63; n <= 65; ++n) cases.push_back(one({2, n}, {.label_smoothing = 0.1}, false));
  cases.push_back(one({5, 9}, {.ignore_index = 4}, true));
  cases.push_back(one({0, 9}, {}, false));
  return cases;
}
OpCase large() { return one({300, 1003}, {.label_smoothing = 0.1}, true); }
HEADWAY_OP_SUITE(cross_entropy, small, large)

std::vector<std::pair<OpCase, testing::Function>> pairs() {
  std::vector<std::pair<OpCase, testing::Function>> all;
  for (const double smoothing : {0.0, 0.1, 1.0}) {
    for (const bool some_ignored : {false, true}) {
      const CrossEntropyOptions options{.label_smoothing = smoothing};
      const OpCase op = one({6, 21}, options, some_ignored);
      const Tensor targets = random_ids({6}, 21, 3);
      if (some_ignored) targets.data<std::int32_t>()[1] = -1;
      all.emplace_back(op, runs(composed::cross_entropy, targets, options));
    }
  }
  return all;
}
HEADWAY_OP_COMPOSED(cross_entropy, pairs)

TEST(CrossEntropy, of_equal_logits_is_the_logarithm_of_the_vocabulary) {
  for (const double smoothing : {0.0, 0.1}) {
    const float loss =
        cross_entropy(zeros({3, 1000}), random_ids({3}, 1000, 1), {.label_smoothing = smoothing})
            .item<float>();
    EXPECT_FLOAT_EQ(loss, std::log(1000.0f));
  }
}

TEST(CrossEntropy, of_huge_logits_is_exact) {
  const Tensor x = require_grad(from<float>({1e4f, 1e4f - 1, -1e30f, 0}, {1, 4}));
  const Tensor loss = cross_entropy(x, from<std::int32_t>({1}, {1}));
  EXPECT_FLOAT_EQ(loss.item<float>(), std::log1p(std::exp(-1.0f)) + 1);
  loss.backward();
  for (const float value : x.grad().to_vector<float>()) EXPECT_TRUE(std::isfinite(value));
}

TEST(CrossEntropy, without_a_target_that_counts_is_zero_with_gradients_of_zero) {
  const Tensor x = require_grad(random({2, 5}, 1, DType::float32));
  const Tensor loss = cross_entropy(x, full({2}, -1, DType::int32));
  EXPECT_EQ(loss.item<float>(), 0);
  loss.backward();
  EXPECT_THAT(x.grad().to_vector<float>(), ::testing::Each(0.0f));
}

TEST(CrossEntropy, needs_no_second_array_of_the_logits_size) {
  const Tensor x = require_grad(zeros({64, 4096}));
  const Tensor targets = full({64}, 1, DType::int32);
  const auto array = 64 * 4096 * 4;
  reset_peak();
  const auto before = memory_stats().current;
  const Tensor loss = cross_entropy(x, targets);
  EXPECT_LT(memory_stats().peak - before, array / 16);
  loss.backward();
  EXPECT_LT(memory_stats().peak - before, array + array / 16);
}

TEST(CrossEntropy, a_target_outside_the_vocabulary_is_named_with_its_place) {
  try {
    cross_entropy(zeros({3, 5}), from<std::int32_t>({0, 5, 1}, {3}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::value);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("target 5 at place 1 is outside the 5 classes"));
  }
  EXPECT_THROW(cross_entropy(zeros({1, 5}), from<std::int32_t>({-2}, {1})), Error);
}

TEST(CrossEntropy, what_does_not_fit_is_refused) {
  const Tensor targets = full({2}, 1, DType::int32);
  EXPECT_THROW(cross_entropy(zeros({3, 5}), targets), Error);
  EXPECT_THROW(cross_entropy(zeros({2, 1, 5}), targets), Error);
  EXPECT_THROW(cross_entropy(zeros({2, 5}), full({2}, 1, DType::int64)), Error);
  EXPECT_THROW(cross_entropy(zeros({2, 5}), targets, {.label_smoothing = 1.5}), Error);
  EXPECT_THROW(cross_entropy(zeros({2, 5}), targets, {.divisor = -1}), Error);
}

std::vector<OpCase> scores_small() {
  std::vector<OpCase> cases;
  for (const std::int64_t n : {1, 2, 15, 16, 17, 33, 64, 65}) {
    const Tensor targets = random_ids({3}, n, 3);
    OpCase op{"scores",
              [=](const Tensors& in) {
                const TokenScores scores = token_scores(in[0], targets);
                return Tensors{scores.log_probability, scores.correct};
              },
              {random({3, n}, 1)},
              {0, 16}};
    op.differentiable = false;
    cases.push_back(op);
  }
  return cases;
}
OpCase scores_large() {
  OpCase op = scores_small()[0];
  const Tensor targets = random_ids({300}, 133, 3);
  op.run = [=](const Tensors& in) { return Tensors{token_scores(in[0], targets).log_probability}; };
  op.inputs = {random({300, 133}, 1)};
  return op;
}
HEADWAY_OP_SUITE_WITHOUT_GRADIENT(token_scores, scores_small, scores_large)
HEADWAY_OP_CHECK(token_scores, reference) {
  for (const OpCase& op : scores_small()) {
    testing::check_reference(op, DType::float32);
    testing::check_reference(op, DType::bfloat16);
    const Tensor targets = random_ids({3}, op.inputs[0].size(1), 3);
    const TokenScores scores = token_scores(op.inputs[0], targets);
    const auto all = log_softmax(op.inputs[0]).to_vector<double>();
    for (std::int64_t row = 0; row < 3; ++row) {
      const auto at =
          static_cast<std::size_t>(row * op.inputs[0].size(1) + targets.data<std::int32_t>()[row]);
      EXPECT_FLOAT_EQ(scores.log_probability.data<float>()[row], static_cast<float>(all[at]));
      EXPECT_EQ(scores.correct.data<bool>()[row], top_k(op.inputs[0], 1).indices.data<std::int32_t>()[row] ==
                                                      targets.data<std::int32_t>()[row]);
    }
  }
}

TEST(TokenScores, among_equal_logits_the_first_is_the_most_probable) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const auto scores = token_scores(ones({2, 20}, dtype), from<std::int32_t>({0, 1}, {2}));
    EXPECT_TRUE(scores.correct.data<bool>()[0]);
    EXPECT_FALSE(scores.correct.data<bool>()[1]);
  }
}

}  // namespace
}  // namespace headway
