#include "text/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <headway/core/error.h>

namespace headway::inline v1::text {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 30;

class Descriptor {
 public:
  Descriptor(const std::filesystem::path& file, int flags, std::string_view operation)
      : file_(file), operation_(operation) {
    if (file.native().find('\0') != std::string::npos) {
      fail(ErrorCode::value, operation_, fmt::format("{} has a NUL; want the name of a file", file.string()));
    }
    fd_ = ::open(file.c_str(), flags | O_CLOEXEC, 0666);
    if (fd_ < 0) give_up("cannot be opened");
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void require_file() const {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) give_up("cannot be examined");
    if (S_ISDIR(info.st_mode)) {
      fail(ErrorCode::io, operation_, fmt::format("{} is a folder; want a file", file_.string()));
    }
  }
  int release() { return std::exchange(fd_, -1); }
  std::string read_all() const {
    require_file();
    std::string content;
    char buffer[1 << 16];
    for (;;) {
      const ssize_t got = ::read(fd_, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) give_up("cannot be read");
      if (got == 0) return content;
      content.append(buffer, static_cast<std::size_t>(got));
      if (content.size() > kMaxBytes) {
        fail(ErrorCode::io, operation_, fmt::format("{} is larger than 1 GiB; want less", file_.string()));
      }
    }
  }
  void write_all(std::string_view content) const {
    while (!content.empty()) {
      const ssize_t put = ::write(fd_, content.data(), content.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) give_up("cannot be written");
      content.remove_prefix(static_cast<std::size_t>(put));
    }
  }
  void sync() const {
    if (::fsync(fd_) != 0) give_up("cannot be synced");
  }

 private:
  [[noreturn]] void give_up(std::string_view what) const {
    fail(ErrorCode::io, operation_, fmt::format("{} {}: {}", file_.string(), what, std::strerror(errno)));
  }
  std::filesystem::path file_;
  std::string operation_;
  int fd_ = -1;
};

}  // namespace

int open_to_read(const std::filesystem::path& file, std::string_view operation) {
  Descriptor descriptor(file, O_RDONLY, operation);
  descriptor.require_file();
  return descriptor.release();
}

std::string read_file(const std::filesystem::path& file, std::string_view operation) {
  return Descriptor(file, O_RDONLY, operation).read_all();
}

void write_file_synced(const std::filesystem::path& file, std::string_view content,
                       std::string_view operation) {
  const Descriptor out(file, O_WRONLY | O_CREAT | O_TRUNC, operation);
  out.write_all(content);
  out.sync();
}

void sync_folder(const std::filesystem::path& folder, std::string_view operation) {
  Descriptor(folder, O_RDONLY | O_DIRECTORY, operation).sync();
}

void write_file_atomically(const std::filesystem::path& file, std::string_view content,
                           std::string_view operation) {
  std::filesystem::path temporary = file;
  temporary += fmt::format(".{}.tmp", ::getpid());
  std::error_code code;
  try {
    write_file_synced(temporary, content, operation);
    std::filesystem::rename(temporary, file, code);
    if (code) {
      fail(ErrorCode::io, operation,
           fmt::format("{} cannot be renamed into place: {}", file.string(), code.message()));
    }
  } catch (...) {
    std::filesystem::remove(temporary, code);
    throw;
  }
  sync_folder(file.has_parent_path() ? file.parent_path() : ".", operation);
}

}  // namespace headway::inline v1::text
