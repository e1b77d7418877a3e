#include <headway/core/fork.h>

#include <pthread.h>

#include <vector>

namespace headway::inline v1::core {
namespace {

std::atomic<std::uint64_t> fork_count{0};

struct Registry {
  std::mutex mutex;
  std::vector<AtFork> calls;
};

// Never destroyed: a process may fork while it ends.
constinit MadeOnce<Registry> the_registry;
Registry& registry() {
  return the_registry.get([] { return Registry(); });
}

void before() {
  Registry& all = registry();
  all.mutex.lock();
  for (std::size_t i = all.calls.size(); i-- > 0;) {
    if (all.calls[i].before) all.calls[i].before(all.calls[i].context);
  }
}

void in_parent() {
  Registry& all = registry();
  for (const AtFork& call : all.calls) {
    if (call.in_parent) call.in_parent(call.context);
  }
  all.mutex.unlock();
}

void in_child() {
  fork_count.fetch_add(1, std::memory_order_release);
  Registry& all = registry();
  for (const AtFork& call : all.calls) {
    if (call.in_child) call.in_child(call.context);
  }
  new (&all.mutex) std::mutex;
}

// When the library is loaded: the first fork may come before the first call.
[[maybe_unused]] const int registered = pthread_atfork(&before, &in_parent, &in_child);

WaitedMutex<std::mutex> one_at_a_time;

}  // namespace

std::uint64_t forks() { return fork_count.load(std::memory_order_acquire); }

void at_fork(const AtFork& calls) {
  Registry& all = registry();
  std::lock_guard lock(all.mutex);
  all.calls.push_back(calls);
}

void RenewedMutex::renew() {
  std::lock_guard lock(one_at_a_time);
  if (made_under_.load(std::memory_order_relaxed) == forks()) return;  // another thread was here first
  new (&mutex_) std::mutex;
  made_under_.store(forks(), std::memory_order_release);
}

}  // namespace headway::inline v1::core
