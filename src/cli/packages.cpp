#include "cli/packages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <headway/core/error.h>

extern char** environ;

namespace headway::cli {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOperation = "prepare";

class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) {
      fail(ErrorCode::io, kOperation, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
    }
  }
  ~Pipe() {
    for (const int end : ends_) {
      if (end >= 0) ::close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int write_end() const { return ends_[1]; }
  std::string drain() {
    ::close(std::exchange(ends_[1], -1));
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
      const ssize_t got = ::read(ends_[0], buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

// Removes its file when it goes.
struct Scratch {
  fs::path path = fs::temp_directory_path() / fmt::format("headway-{}.log", ::getpid());
  ~Scratch() {
    std::error_code code;
    fs::remove(path, code);
  }
  std::string last_line() const {
    std::string text;
    if (FILE* file = std::fopen(path.c_str(), "r")) {
      std::array<char, 4096> buffer;
      for (std::size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), file)) > 0;) {
        text.append(buffer.data(), got);
      }
      std::fclose(file);
    }
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text.substr(text.rfind('\n') + 1);
  }
};

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

std::string run_program(const std::vector<std::string>& command, const fs::path& folder) {
  Pipe output;
  Scratch messages;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output.write_end(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, messages.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  // This program ignores a broken pipe, and hands that on unless told otherwise.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t usual;
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> arguments;
  for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    fail(ErrorCode::io, kOperation, fmt::format("{} cannot be run: {}", command[0], std::strerror(failed)));
  }
  std::string text = output.drain();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fail(ErrorCode::io, kOperation,
         fmt::format("`{}` failed: {}", fmt::join(command, " "), messages.last_line()));
  }
  return text;
}

fs::path default_cache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return fs::path(cache) / "headway";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return fs::path(home) / ".cache" / "headway";
  }
  return fs::temp_directory_path() / "headway-cache";
}

Package open_package(const fs::path& deb, const fs::path& cache) {
  const fs::path file = fs::absolute(deb);
  if (!fs::is_regular_file(file)) {
    fail(ErrorCode::io, kOperation, fmt::format("{} is no file; want a Debian package", deb.string()));
  }
  fs::create_directories(cache);
  Package package;
  package.name = trimmed(run_program({"dpkg-deb", "-f", file.string(), "Package"}, cache));
  package.version = trimmed(run_program({"dpkg-deb", "-f", file.string(), "Version"}, cache));
  package.root = fs::absolute(cache) / fmt::format("{}_{}", package.name, package.version);
  if (!fs::exists(package.root)) {
    fs::path temporary = package.root;
    temporary += fmt::format(".{}.tmp", ::getpid());
    run_program({"dpkg-deb", "-x", file.string(), temporary.string()}, cache);
    std::error_code code;
    fs::rename(temporary, package.root, code);
    if (code) fs::remove_all(temporary);  // another process was faster
  }
  return package;
}

Package fetch_package(const std::string& name, const fs::path& cache) {
  fs::create_directories(cache);
  const auto find = [&] {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(cache)) {
      const std::string file = entry.path().filename().string();
      if (file.starts_with(name + "_") && file.ends_with(".deb")) found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  };
  if (find().empty()) run_program({"apt-get", "download", name}, cache);
  const auto found = find();
  if (found.empty()) {
    fail(ErrorCode::io, kOperation,
         fmt::format("apt-get download {} left no file in {}", name, cache.string()));
  }
  return open_package(found.back(), cache);
}

}  // namespace headway::cli
