#include <headway/attention/position.h>

#include <gmock/gmock.h>

#include <cmath>

#include <headway/core/error.h>
#include <headway/core/factory.h>

namespace headway {
namespace {

TEST(Position, alibi_slopes_are_those_of_the_paper) {
  EXPECT_EQ(Position::alibi_slopes(8),
            (std::vector<double>{1. / 2, 1. / 4, 1. / 8, 1. / 16, 1. / 32, 1. / 64, 1. / 128, 1. / 256}));
  // Not a power of two: the power below, and then every other slope of twice that.
  const auto twelve = Position::alibi_slopes(12);
  ASSERT_EQ(twelve.size(), 12);
  EXPECT_EQ(twelve[7], 1. / 256);
  EXPECT_NEAR(twelve[8], std::exp2(-0.5), 1e-15);
  EXPECT_NEAR(twelve[11], std::exp2(-3.5), 1e-15);
  EXPECT_EQ(Position::alibi_slopes(1), (std::vector<double>{1. / 256}));
}

TEST(Position, t5_buckets_are_exact_near_and_logarithmic_far) {
  // 32 buckets, 128: the values of the paper's own code.
  const auto both = [](std::int64_t distance) { return Position::t5_bucket(distance, 32); };
  for (std::int64_t d = 0; d < 8; ++d) {
    EXPECT_EQ(both(d), d);
    EXPECT_EQ(both(-d), d == 0 ? 0 : 16 + d);
  }
  EXPECT_EQ(both(8), 8);
  EXPECT_EQ(both(11), 8);
  EXPECT_EQ(both(12), 9);
  EXPECT_EQ(both(127), 15);
  EXPECT_EQ(both(100000), 15);
  EXPECT_EQ(both(-128), 31);
  const auto causal = [](std::int64_t distance) {
    return Position::t5_bucket(distance, 32, {.bidirectional = false});
  };
  EXPECT_EQ(causal(-5), 0);
  EXPECT_EQ(causal(15), 15);
  EXPECT_EQ(causal(16), 16);
  EXPECT_EQ(causal(127), 31);
}

TEST(Position, biases_are_tabulated_by_distance) {
  const auto alibi = Position::alibi({0.5, 0.25}).biases(2, -2, 4);
  EXPECT_EQ(alibi, (std::vector<double>{-1, -0.5, 0, -0.5, -0.5, -0.25, 0, -0.25}));
  const Tensor table = from(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}, {4, 2});
  const Position t5 = Position::t5(table, {.max_distance = 8});
  EXPECT_EQ(t5.biases(2, 0, 2), (std::vector<double>{0, 2, 1, 3}));
  EXPECT_EQ(t5.table_gradient({10, 20, 30, 40}, 2, 0, 2), (std::vector<double>{10, 30, 20, 40, 0, 0, 0, 0}));
}

TEST(Position, rope_turns_by_rates_that_fall_from_one_to_one_over_the_base) {
  const RopeOptions rope{.base = 10000, .dims = 8};
  EXPECT_EQ(rope.rate(0, 8), 1);
  EXPECT_NEAR(rope.rate(2, 8), 1e-2, 1e-17);
  EXPECT_NEAR(RopeOptions{.scaling = 4}.rate(3, 8), 1e-3 / 4, 1e-18);
  EXPECT_EQ(rope.rotated("test", 12), 8);
  EXPECT_EQ(RopeOptions{}.rotated("test", 12), 12);
  EXPECT_TRUE(Position::rope(rope).defined() && Position::rope(rope).rotates());
  EXPECT_FALSE(Position::alibi().rotates());
  EXPECT_EQ(Position::rope().str(), "rope");
  EXPECT_EQ(Position::rope({.base = 500, .dims = 8, .pairs = RopePairs::interleaved, .scaling = 2}).str(),
            "rope(base 500, dims 8, interleaved, scaling 2)");
}

TEST(Position, what_does_not_fit_is_refused) {
  EXPECT_THROW(Position::rope({.base = 0}), Error);
  EXPECT_THROW(Position::rope({.dims = 5}), Error);
  EXPECT_THROW(Position::rope({.scaling = std::nan("")}), Error);
  EXPECT_THROW(RopeOptions{}.rotated("test", 5), Error);
  EXPECT_THROW(RopeOptions{.dims = 8}.rotated("test", 6), Error);
  EXPECT_THROW(Position::alibi({}), Error);
  EXPECT_THROW(Position::alibi({1, 2}).biases(3, 0, 1), Error);
  EXPECT_THROW(Position::t5(zeros({32}), {}), Error);
  EXPECT_THROW(Position::t5(zeros({31, 2}), {}), Error);
  EXPECT_THROW(Position::t5(zeros({32, 2}), {.max_distance = 8}), Error);
  EXPECT_THROW(Position::t5(zeros({32, 2}, DType::boolean), {}), Error);
  EXPECT_THROW(Position::t5(zeros({32, 2})).biases(3, 0, 1), Error);
}

}  // namespace
}  // namespace headway
