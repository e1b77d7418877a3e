#include <headway/train/schedule.h>

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <headway/core/error.h>

namespace headway::train {
namespace {

TEST(Schedule, inverse_square_root_is_equation_3_of_the_paper) {
  const std::int64_t dim = 512, warmup = 4000;
  const Schedule schedule{.decay = Decay::inverse_sqrt, .rate = paper_rate(dim, warmup), .warmup = warmup};
  for (const std::int64_t step : {1, 100, 3999, 4000, 4001, 100000}) {
    const auto t = static_cast<double>(step);
    const double paper = std::pow(512.0, -0.5) * std::min(std::pow(t, -0.5), t * std::pow(4000.0, -1.5));
    EXPECT_NEAR(learning_rate(schedule, step), paper, 1e-12 * paper) << step;
  }
}

TEST(Schedule, warm_up_is_a_line_to_the_highest_rate_for_every_decay) {
  for (const Decay decay : {Decay::constant, Decay::inverse_sqrt, Decay::cosine, Decay::linear}) {
    const Schedule schedule{.decay = decay, .rate = 2, .warmup = 10, .steps = 100};
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 1), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 10), 2);
    EXPECT_LE(learning_rate(schedule, 11), 2);
  }
}

TEST(Schedule, cosine_and_linear_pass_their_middle_and_end_at_the_floor) {
  for (const Decay decay : {Decay::cosine, Decay::linear}) {
    const Schedule schedule{.decay = decay, .rate = 1, .warmup = 20, .steps = 120, .floor = 0.1};
    EXPECT_NEAR(learning_rate(schedule, 70), 0.55, 1e-15);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 120), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 500), 0.1);
  }
  EXPECT_NEAR(learning_rate({.decay = Decay::cosine, .rate = 1, .steps = 100}, 25), (1 + std::sqrt(0.5)) / 2,
              1e-15);
  EXPECT_NEAR(learning_rate({.decay = Decay::linear, .rate = 1, .steps = 100}, 25), 0.75, 1e-15);
}

TEST(Schedule, no_warm_up_begins_at_the_highest_rate) {
  EXPECT_DOUBLE_EQ(learning_rate({.decay = Decay::constant, .rate = 3}, 1), 3);
  EXPECT_DOUBLE_EQ(learning_rate({.decay = Decay::inverse_sqrt, .rate = 3}, 1), 3);
}

TEST(Schedule, a_missing_length_is_an_error_only_after_the_warm_up) {
  const Schedule schedule{.decay = Decay::cosine, .rate = 1, .warmup = 5};
  EXPECT_NO_THROW(learning_rate(schedule, 5));
  EXPECT_THROW(learning_rate(schedule, 6), Error);
}

TEST(Schedule, names_come_back_and_others_are_refused) {
  for (const Decay decay : {Decay::constant, Decay::inverse_sqrt, Decay::cosine, Decay::linear}) {
    EXPECT_EQ(decay_named(name_of(decay)), decay);
  }
  EXPECT_THROW(decay_named("cosin"), Error);
  EXPECT_THROW(check({.floor = 2}), Error);
  EXPECT_THROW(check({.rate = std::nan("")}), Error);
}

}  // namespace
}  // namespace headway::train
