#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// Threads that parallel work may use, process-wide. The default is OMP_NUM_THREADS or the number of cores.
HEADWAY_API int threads();
/// Error(value) unless count >= 1.
HEADWAY_API void set_threads(int count);

namespace core {

/// Runs body(context) on at most `count` threads at once, the caller among them, and returns when all are
/// done.
using Team = void (*)(int count, void (*body)(void*), void* context);
/// Loops run on these threads from now on, those of a pool that the program keeps busy anyhow; nullptr: on
/// the library's own. Two pools on the same cores take turns by the scheduler's clock, where one goes
/// straight on.
HEADWAY_API void set_team(Team team);

HEADWAY_API void run_parallel(std::int64_t units, void (*call)(void*, std::int64_t), void* context);
/// Index of the calling thread within the running parallel_for, 0 outside: picks a per-thread workspace.
HEADWAY_API int thread_index();

/// Runs body(i) for every i in [0, units) on the pool, in any order. What a unit computes must depend on i
/// alone, never on the thread: then results are the same bits for any number of threads. The first exception
/// cancels the units not yet begun and is rethrown here after the join. Inside another parallel_for it runs
/// serially.
template <typename Body>
void parallel_for(std::int64_t units, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  run_parallel(
      units, [](void* context, std::int64_t unit) { (*static_cast<Plain*>(context))(unit); },
      const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

/// Runs body(begin, end) over [0, count) cut in pieces of `grain`: the cuts depend on count and grain alone.
template <typename Body>
void parallel_ranges(std::int64_t count, std::int64_t grain, Body&& body) {
  parallel_for((count + grain - 1) / grain,
               [&](std::int64_t unit) { body(unit * grain, std::min(count, (unit + 1) * grain)); });
}

}  // namespace core
}  // namespace headway::inline v1
