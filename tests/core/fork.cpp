#include <headway/core/fork.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include <headway/core/allocator.h>
#include <headway/core/log.h>
#include <headway/core/parallel.h>
#include <headway/core/storage.h>

#include <support/fork.h>

namespace headway {
namespace {

using headway::testing::in_child;

class Fork : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!headway::testing::kCanFork) GTEST_SKIP() << "the thread sanitizer ends a child that starts threads";
    set_threads(3);
  }
  void TearDown() override { set_threads(before_); }

 private:
  int before_ = threads();
};

bool every_unit_runs_once() {
  std::vector<std::atomic<int>> runs(1000);
  std::atomic<int> indices{0};
  core::parallel_for(1000, [&](std::int64_t i) {
    ++runs[static_cast<std::size_t>(i)];
    indices.fetch_or(1 << core::thread_index());
    if (i < 3) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  for (const auto& run : runs) {
    if (run != 1) return false;
  }
  return indices == 0b111;
}

TEST_F(Fork, a_child_has_a_pool_of_its_own) {
  ASSERT_TRUE(every_unit_runs_once());
  EXPECT_TRUE(in_child(&every_unit_runs_once));
  EXPECT_TRUE(every_unit_runs_once());  // and the parent keeps its own
}

TEST_F(Fork, a_child_of_a_child_has_one_too) {
  ASSERT_TRUE(every_unit_runs_once());
  EXPECT_TRUE(in_child([] { return every_unit_runs_once() && in_child(&every_unit_runs_once); }));
}

TEST_F(Fork, the_number_of_forks_is_told) {
  const std::uint64_t here = core::forks();
  EXPECT_TRUE(in_child([&] { return core::forks() == here + 1; }));
  EXPECT_EQ(core::forks(), here);
}

void no_team(int, void (*)(void*), void*) { std::abort(); }

TEST_F(Fork, a_foreign_team_stays_behind) {
  core::set_team(&no_team);
  const bool good = in_child(&every_unit_runs_once);
  core::set_team(nullptr);
  EXPECT_TRUE(good);
}

// Another thread holds `mutex` most of the time, and forks happen all the while.
template <typename Mutex>
void fork_beside_a_holder(Mutex& mutex) {
  std::atomic<bool> stop{false}, held{false};
  std::thread holder([&] {
    while (!stop) {
      mutex.lock();
      held = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      mutex.unlock();
    }
  });
  while (!held) std::this_thread::yield();
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(in_child([&] {
      for (int again = 0; again < 2; ++again) {
        mutex.lock();
        mutex.unlock();
      }
      return true;
    }));
  }
  stop = true;
  holder.join();
  mutex.lock();
  mutex.unlock();
}

TEST_F(Fork, waits_for_the_holders_of_short_sections) {
  static core::WaitedMutex<std::mutex> plain;
  fork_beside_a_holder(plain);
  static core::WaitedMutex<std::shared_mutex> shared;
  fork_beside_a_holder(shared);
}

TEST_F(Fork, a_mutex_of_a_long_section_is_new_in_the_child) {
  core::RenewedMutex mutex;
  fork_beside_a_holder(mutex);
}

TEST_F(Fork, a_child_can_log_while_the_parent_s_sink_waits) {
  std::atomic<bool> waiting{false}, leave{false};
  const LogSink former = set_log_sink([&](LogLevel, std::string_view message) {
    if (message != "wait") return;
    waiting = true;
    while (!leave) std::this_thread::yield();
  });
  std::thread logger([] { core::log(LogLevel::info, "wait"); });
  while (!waiting) std::this_thread::yield();
  EXPECT_TRUE(in_child([] {
    core::log(LogLevel::info, "go on");
    return true;
  }));
  leave = true;
  logger.join();
  set_log_sink(former);
}

TEST_F(Fork, a_child_can_allocate_whatever_other_threads_do) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&] {
      while (!stop) core::deallocate(core::allocate(640), 640);
    });
  }
  int good = 0;
  for (int i = 0; i < 50; ++i) {
    good += in_child([] {
      core::deallocate(core::allocate(640), 640);
      return memory_stats().allocations > 0;
    });
  }
  stop = true;
  for (std::thread& other : others) other.join();
  EXPECT_EQ(good, 50);
}

TEST_F(Fork, bytes_that_another_thread_was_making_are_made_anew) {
  std::atomic<bool> making{false}, leave{false};
  const core::Storage storage(1, [&](void* out) {
    making = true;
    while (!leave) std::this_thread::yield();
    *static_cast<char*>(out) = 'x';
  });
  std::thread maker([&] { (void)storage.data(); });
  while (!making) std::this_thread::yield();
  EXPECT_TRUE(in_child([&] {
    leave = true;
    return *static_cast<const char*>(storage.data()) == 'x';
  }));
  leave = true;
  maker.join();
}

}  // namespace
}  // namespace headway
