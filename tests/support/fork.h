#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

namespace headway::testing {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kCanFork = false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kCanFork = false;
#else
inline constexpr bool kCanFork = true;
#endif
#else
inline constexpr bool kCanFork = true;
#endif

/// What `check` says in a forked child; false, too, where the child dies or has not answered after 20
/// seconds.
template <typename Check>
bool in_child(Check&& check) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    alarm(20);  // a child that hangs is ended by it
    bool good = false;
    try {
      good = std::forward<Check>(check)();
    } catch (...) {
      _exit(2);
    }
    _exit(good ? 0 : 1);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace headway::testing
