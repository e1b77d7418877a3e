#include <headway/io/atomic_file.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>

namespace headway::inline v1::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartial = ".partial-";

[[noreturn]] void fail_io(std::string_view operation, std::string_view what, const fs::path& path,
                          int error) {
  fail(ErrorCode::io, operation,
       fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(error)));
}

// A name that is free, hidden, and known to remove_leftovers().
fs::path temporary_beside(const fs::path& target) {
  static std::atomic<unsigned> count{0};
  return target.parent_path() /
         fmt::format(".{}{}{}-{}", target.filename().string(), kPartial, ::getpid(), count.fetch_add(1));
}

bool is_leftover(const fs::path& name) {
  const std::string text = name.string();
  return text.starts_with('.') && text.find(kPartial) != std::string::npos;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void sync_folder(std::string_view operation, const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_io(operation, "open the folder", folder, errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some file systems have nothing to sync for a folder, and say so with EINVAL.
  if (result != 0 && error != EINVAL) fail_io(operation, "sync the folder", folder, error);
}

// Behind a NUL the system would not look: another file.
void require_name(std::string_view operation, const fs::path& path) {
  if (path.native().find('\0') == std::string::npos) return;
  fail(ErrorCode::value, operation,
       fmt::format("path {} has a NUL; want the name of a file", quoted(path.string())));
}

fs::path checked_target(std::string_view operation, fs::path target) {
  require_name(operation, target);
  if (!target.has_filename()) {
    fail(ErrorCode::value, operation,
         fmt::format("path is {}; want the name of a file or folder", quoted(target.string())));
  }
  return target;
}

}  // namespace

AtomicFile::AtomicFile(fs::path target)
    : target_(checked_target("write_file", std::move(target))), temporary_(temporary_beside(target_)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_io("write_file", "write", target_, errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  constexpr std::size_t kChunk = std::size_t{1} << 30;  // Linux writes at most 2 GiB at once
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, std::min(bytes, kChunk));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_io("write_file", "write", target_, errno);
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_io("write_file", "sync", target_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_io("write_file", "write", target_, errno);
  ::close(descriptor_);
  descriptor_ = -1;
  // Within an AtomicFolder that folder's commit() syncs all its entries at once.
  if (!is_leftover(folder_of(target_).filename())) sync_folder("write_file", folder_of(target_));
}

AtomicFolder::AtomicFolder(fs::path target)
    : target_(checked_target("write_folder", std::move(target))), temporary_(temporary_beside(target_)) {
  if (::mkdir(temporary_.c_str(), 0777) != 0) fail_io("write_folder", "make the folder", target_, errno);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  sync_folder("write_folder", temporary_);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    if (error == EEXIST || error == ENOTEMPTY || error == ENOTDIR) {
      fail(ErrorCode::io, "write_folder", fmt::format("{} exists; want a new name", target_.string()));
    }
    fail_io("write_folder", "make the folder", target_, error);
  }
  committed_ = true;
  sync_folder("write_folder", folder_of(target_));
}

void write_file(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

std::string read_file(const fs::path& path, std::uint64_t limit) {
  require_name("read_file", path);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_io("read_file", "open", path, errno);
  std::string bytes;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    const int error = errno;
    if (got <= 0) {
      ::close(descriptor);
      if (got < 0) fail_io("read_file", "read", path, error);
      return bytes;
    }
    bytes.append(buffer, static_cast<std::size_t>(got));
    if (bytes.size() > limit) {
      ::close(descriptor);
      fail(ErrorCode::format, "read_file", fmt::format("{} is longer than {} bytes", path.string(), limit));
    }
  }
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path, error)) {
    fail(ErrorCode::io, "make_folder",
         fmt::format("cannot make {}: {}", path.string(), error ? error.message() : "a file has that name"));
  }
}

void remove_folder(const fs::path& path) {
  const fs::path doomed = temporary_beside(path);
  if (::rename(path.c_str(), doomed.c_str()) != 0) fail_io("remove_folder", "remove", path, errno);
  std::error_code error;
  fs::remove_all(doomed, error);
  if (error)
    fail(ErrorCode::io, "remove_folder", fmt::format("cannot remove {}: {}", path.string(), error.message()));
}

void remove_leftovers(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (is_leftover(entry->path().filename())) fs::remove_all(entry->path(), ignored);
  }
}

}  // namespace headway::inline v1::io
