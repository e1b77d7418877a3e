#include <headway/core/parallel.h>

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include <headway/core/error.h>

namespace headway {
namespace {

class Parallel : public ::testing::Test {
 protected:
  ~Parallel() override { set_threads(before_); }

 private:
  int before_ = threads();
};

TEST_F(Parallel, runs_every_unit_once) {
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    std::vector<std::atomic<int>> runs(1000);
    core::parallel_for(1000, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
    for (const auto& run : runs) ASSERT_EQ(run, 1);
  }
  core::parallel_for(0, [](std::int64_t) { FAIL(); });
}

TEST_F(Parallel, ranges_cover_the_count_with_cuts_that_ignore_threads) {
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    std::vector<std::atomic<std::int64_t>> end_of(4);
    core::parallel_ranges(100, 30, [&](std::int64_t begin, std::int64_t end) {
      ASSERT_EQ(begin % 30, 0);
      end_of[static_cast<std::size_t>(begin / 30)] = end;
    });
    EXPECT_EQ(end_of[0], 30);
    EXPECT_EQ(end_of[2], 90);
    EXPECT_EQ(end_of[3], 100);
  }
}

std::atomic<int> foreign_calls{0};

void two_threads(int count, void (*body)(void*), void* context) {
  ++foreign_calls;
  ASSERT_EQ(count, 2);
  std::thread other([&] { body(context); });
  body(context);
  other.join();
}

TEST_F(Parallel, loops_run_on_a_foreign_team_whose_threads_are_told_apart) {
  set_threads(2);
  core::set_team(&two_threads);
  std::vector<std::atomic<int>> runs(1000);
  std::atomic<int> out_of_range{0}, failures{0};
  core::parallel_for(1000, [&](std::int64_t i) {
    ++runs[static_cast<std::size_t>(i)];
    if (core::thread_index() < 0 || core::thread_index() > 1) ++out_of_range;
    core::parallel_for(3, [&](std::int64_t) {});  // serially, here as on the library's own threads
  });
  try {
    core::parallel_for(1000, [](std::int64_t i) {
      if (i == 10) throw std::runtime_error("unit 10");
    });
  } catch (const std::runtime_error&) {
    ++failures;
  }
  core::set_team(nullptr);
  core::parallel_for(10, [](std::int64_t) {});
  for (const auto& run : runs) ASSERT_EQ(run, 1);
  EXPECT_EQ(out_of_range, 0);
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(foreign_calls, 2);
  EXPECT_EQ(core::thread_index(), 0);
}

TEST_F(Parallel, an_exception_cancels_the_rest_and_comes_out_after_the_join) {
  for (const int count : {1, 2, 4}) {
    set_threads(count);
    std::atomic<int> running{0}, ran{0};
    try {
      core::parallel_for(100000, [&](std::int64_t i) {
        ++running;
        ++ran;
        if (i == 10) {
          --running;
          throw std::runtime_error("unit 10");
        }
        --running;
      });
      FAIL();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "unit 10");
    }
    EXPECT_EQ(running, 0);
    EXPECT_LT(ran, 100000);
    // The pool still works.
    std::atomic<int> after{0};
    core::parallel_for(10, [&](std::int64_t) { ++after; });
    EXPECT_EQ(after, 10);
  }
}

TEST_F(Parallel, inside_another_one_runs_serially_on_the_same_thread) {
  set_threads(4);
  std::atomic<int> wrong{0}, runs{0};
  core::parallel_for(8, [&](std::int64_t) {
    const auto here = std::this_thread::get_id();
    const int index = core::thread_index();
    core::parallel_for(5, [&](std::int64_t) {
      ++runs;
      if (std::this_thread::get_id() != here || core::thread_index() != index) ++wrong;
    });
  });
  EXPECT_EQ(runs, 40);
  EXPECT_EQ(wrong, 0);
}

TEST_F(Parallel, thread_indices_are_below_the_number_of_threads) {
  set_threads(3);
  std::atomic<int> beyond{0};
  core::parallel_for(100, [&](std::int64_t) { beyond += core::thread_index() >= 3; });
  EXPECT_EQ(beyond, 0);
  EXPECT_EQ(core::thread_index(), 0);
}

TEST_F(Parallel, several_host_threads_may_call_at_once) {
  set_threads(2);
  std::atomic<std::int64_t> total{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] { core::parallel_for(1000, [&](std::int64_t unit) { total += unit; }); });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 499500);
}

TEST_F(Parallel, no_thread_is_no_number_of_threads) {
  EXPECT_THROW(set_threads(0), Error);
  EXPECT_THROW(set_threads(-1), Error);
}

}  // namespace
}  // namespace headway
