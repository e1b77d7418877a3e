#include <headway/core/parallel.h>

#include <omp.h>

#include <atomic>
#include <exception>
#include <mutex>

#include <fmt/format.h>

#include <headway/core/error.h>

namespace headway::inline v1 {
namespace {
std::atomic<int>& thread_count() {
  static std::atomic<int> count{omp_get_max_threads()};
  return count;
}
}  // namespace

int threads() { return thread_count().load(std::memory_order_relaxed); }

void set_threads(int count) {
  if (count < 1) fail(ErrorCode::value, "set_threads", fmt::format("count is {}; want at least 1", count));
  thread_count().store(count, std::memory_order_relaxed);
}

namespace core {

int thread_index() { return omp_in_parallel() ? omp_get_thread_num() : 0; }

void run_parallel(std::int64_t units, void (*call)(void*, std::int64_t), void* context) {
  const int team = static_cast<int>(std::min<std::int64_t>(threads(), units));
  if (team <= 1 || omp_in_parallel()) {
    for (std::int64_t unit = 0; unit < units; ++unit) call(context, unit);
    return;
  }
  // Units are handed out one by one: causal rows and unequal sequences make them differ in size. An exception
  // may not leave the OpenMP region (the program would be terminated), so the first one is carried out by
  // hand.
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> cancelled{false};
  std::exception_ptr first;
  std::mutex first_mutex;
#pragma omp parallel num_threads(team)
  {
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
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace core
}  // namespace headway::inline v1
