#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <headway/core/export.h>

/// fork() copies one thread. In the child the others are gone, and a mutex that one of them held stays taken
/// for ever: threads are started anew there, and every lock is one of the two kinds below. The guard of a
/// function's static object is such a lock, too: what is made late is a MadeOnce.
namespace headway::inline v1::core {

/// How many forks lie between this process and the one that loaded the library. What was made under another
/// number was made by threads most of which are gone.
HEADWAY_API std::uint64_t forks();

/// Functions that fork() calls, each with `context`; null ones are passed over. `before` those registered
/// last come first, afterwards those registered first.
struct AtFork {
  void* context = nullptr;
  void (*before)(void*) = nullptr;
  void (*in_parent)(void*) = nullptr;
  void (*in_child)(void*) = nullptr;
};
/// Registers for the rest of the process.
HEADWAY_API void at_fork(const AtFork& calls);

/// A value that is made on first use and never destroyed. Nobody waits: two threads may both make it, and one
/// of the two is used. `T` must not hold a WaitedMutex, which is made when the library is loaded.
template <typename T>
class MadeOnce {
 public:
  constexpr MadeOnce() = default;
  MadeOnce(const MadeOnce&) = delete;
  MadeOnce& operator=(const MadeOnce&) = delete;

  template <typename Make>
  T& get(Make&& make) {
    if (T* const made = place_.load(std::memory_order_acquire)) return *made;
    std::unique_ptr<T> fresh(new T(std::forward<Make>(make)()));
    T* made = nullptr;
    if (place_.compare_exchange_strong(made, fresh.get(), std::memory_order_acq_rel)) made = fresh.release();
    return *made;
  }

 private:
  std::atomic<T*> place_{nullptr};
};

/// A mutex for short sections that call nobody else's code: fork() waits for it, so that the child finds it
/// free and what it guards whole. It is made when the library is loaded (a fork must not find it half
/// registered) and lives as long as the process.
template <typename Mutex>
class WaitedMutex : public Mutex {
 public:
  WaitedMutex() {
    at_fork(
        {.context = this,
         .before = [](void* self) { static_cast<WaitedMutex*>(self)->lock(); },
         .in_parent = [](void* self) { static_cast<WaitedMutex*>(self)->unlock(); },
         // Made anew: some kinds know their holder by a number that is another in the child.
         .in_child = [](void* self) { new (static_cast<Mutex*>(static_cast<WaitedMutex*>(self))) Mutex; }});
  }
  WaitedMutex(const WaitedMutex&) = delete;
  WaitedMutex& operator=(const WaitedMutex&) = delete;
};

/// A mutex for sections that last, or call what may wait for the thread that forks. fork() does not wait, and
/// a child takes it as new: a section that another thread was in breaks off there, so it must leave what it
/// guards usable at every step.
class HEADWAY_API RenewedMutex {
 public:
  RenewedMutex() : made_under_(forks()) {}
  void lock() {
    if (made_under_.load(std::memory_order_acquire) != forks()) renew();
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }

 private:
  void renew();
  std::mutex mutex_;
  std::atomic<std::uint64_t> made_under_;
};

}  // namespace headway::inline v1::core
