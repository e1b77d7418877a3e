#include <headway/core/parallel.h>

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/fork.h>

namespace headway::inline v1 {
namespace {

int default_threads() {
  if (const char* wanted = std::getenv("OMP_NUM_THREADS")) {
    if (const int count = std::atoi(wanted); count >= 1) return count;
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

constinit core::MadeOnce<std::atomic<int>> the_thread_count;
std::atomic<int>& thread_count() {
  return the_thread_count.get([] { return std::atomic<int>(default_threads()); });
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// How long to look before going to sleep. First without letting go of the core: some tens of microseconds,
// about what lies between two parallel loops of a training step. Then offering the core to others in between:
// on a busy machine threads that spin for good (as an OpenMP pool does by default) made training up to ten
// times slower, while threads that sleep at once lose more to waking up than the loops last.
constexpr int kLooks = 2000;
constexpr int kYields = 500;

template <typename T>
T wait_until_changed(const std::atomic<T>& value, T from) {
  for (int look = 0; look < kLooks; ++look) {
    if (const T now = value.load(std::memory_order_acquire); now != from) return now;
    pause();
  }
  for (int look = 0; look < kYields; ++look) {
    if (const T now = value.load(std::memory_order_acquire); now != from) return now;
    sched_yield();
  }
  value.wait(from, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

thread_local bool inside = false;
thread_local int index_here = 0;

std::atomic<core::Team> foreign_team{nullptr};

struct Job {
  std::int64_t units = 0;
  void (*call)(void*, std::int64_t) = nullptr;
  void* context = nullptr;
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> cancelled{false};
  std::exception_ptr first;
  std::mutex first_mutex;
  std::atomic<int> joined{0};

  // As one of a foreign team, whose threads have no numbers of ours.
  static void join(void* job) {
    auto& self = *static_cast<Job*>(job);
    const int before = index_here;
    index_here = self.joined.fetch_add(1, std::memory_order_relaxed);
    self.work();
    index_here = before;
  }

  // Units are handed out one by one: causal rows and unequal sequences make them differ in size.
  void work() {
    inside = true;
    while (!cancelled.load(std::memory_order_relaxed)) {
      const std::int64_t unit = next.fetch_add(1, std::memory_order_relaxed);
      if (unit >= units) break;
      try {
        call(context, unit);
      } catch (...) {
        std::lock_guard lock(first_mutex);
        if (!first) first = std::current_exception();
        cancelled.store(true, std::memory_order_relaxed);
      }
    }
    inside = false;
  }
};

// The process's workers. One loop runs on them at a time; a host thread that finds them taken runs its loop
// alone.
class Pool {
 public:
  bool try_run(Job& job, int team) {
    std::unique_lock taken(taken_, std::try_to_lock);
    if (!taken) return false;
    while (static_cast<int>(workers_) < team - 1) {
      const int index = ++workers_;
      std::thread([this, index] { serve(index); }).detach();
    }
    job_ = &job;
    working_.store(team - 1, std::memory_order_relaxed);
    // One word holds the number of the call and the size of its team, so that a worker who is not in the team
    // cannot mix up two calls.
    call_.store(((call_.load(std::memory_order_relaxed) >> kTeamBits) + 1) << kTeamBits |
                    static_cast<std::uint64_t>(team),
                std::memory_order_release);
    call_.notify_all();
    job.work();
    for (int left = working_.load(std::memory_order_acquire); left != 0;)
      left = wait_until_changed(working_, left);
    return true;
  }

 private:
  static constexpr int kTeamBits = 16;

  void serve(int index) {
    index_here = index;
    std::uint64_t seen = 0;
    for (;;) {
      seen = wait_until_changed(call_, seen);
      if (index >= static_cast<int>(seen & ((1u << kTeamBits) - 1))) continue;
      job_->work();
      if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
    }
  }

  std::mutex taken_;
  int workers_ = 0;
  Job* job_ = nullptr;
  std::atomic<std::uint64_t> call_{0};
  std::atomic<int> working_{0};
};

std::atomic<Pool*> current_pool{nullptr};

// The threads of either team are not there in a forked child. A foreign one comes back if its owner says so.
[[maybe_unused]] const bool forgets_teams_in_children = [] {
  core::at_fork({.in_child = [](void*) {
    current_pool.store(nullptr, std::memory_order_release);
    foreign_team.store(nullptr, std::memory_order_release);
  }});
  return true;
}();

// Never destroyed: its detached threads wait on it until the process ends, and a child's copy of its parent's
// may have been left in any state.
Pool& pool() {
  if (Pool* const made = current_pool.load(std::memory_order_acquire)) return *made;
  auto* const fresh = new Pool;
  Pool* made = nullptr;
  if (current_pool.compare_exchange_strong(made, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;  // another thread's came first
  return *made;
}

}  // namespace

int threads() { return thread_count().load(std::memory_order_relaxed); }

void set_threads(int count) {
  constexpr int kMost = 1024;
  if (count < 1 || count > kMost) {
    fail(ErrorCode::value, "set_threads", fmt::format("count is {}; want 1 to {}", count, kMost));
  }
  thread_count().store(count, std::memory_order_relaxed);
}

namespace core {

int thread_index() { return index_here; }

void set_team(Team team) { foreign_team.store(team, std::memory_order_release); }

void run_parallel(std::int64_t units, void (*call)(void*, std::int64_t), void* context) {
  const int team = static_cast<int>(std::min<std::int64_t>(threads(), units));
  if (team > 1 && !inside) {
    Job job;
    job.units = units;
    job.call = call;
    job.context = context;
    const core::Team foreign = foreign_team.load(std::memory_order_acquire);
    if (foreign) foreign(team, &Job::join, &job);
    if (foreign || pool().try_run(job, team)) {
      if (job.first) std::rethrow_exception(job.first);
      return;
    }
  }
  for (std::int64_t unit = 0; unit < units; ++unit) call(context, unit);
}

}  // namespace core
}  // namespace headway::inline v1
