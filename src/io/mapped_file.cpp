#include <headway/io/mapped_file.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include <headway/core/error.h>

namespace headway::inline v1::io {
namespace {

constexpr std::string_view kOperation = "open_file";

[[noreturn]] void refuse(std::string_view what, const std::filesystem::path& path, int error) {
  fail(ErrorCode::io, kOperation,
       fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(error)));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  // Non-blocking: opening a pipe that nobody writes to would wait for ever.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) refuse("open", path, errno);
  struct stat about {};
  const int result = ::fstat(descriptor_, &about);
  const int error = errno;
  if (result != 0 || !S_ISREG(about.st_mode)) {
    ::close(descriptor_);
    if (result != 0) refuse("read", path, error);
    fail(ErrorCode::io, kOperation,
         fmt::format("{} is {}; want a regular file", path.string(),
                     S_ISDIR(about.st_mode) ? "a folder" : "a device or pipe"));
  }
  size_ = static_cast<std::uint64_t>(about.st_size);
  if (size_ == 0) return;  // nothing to map, and mmap refuses it
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (data == MAP_FAILED) {
    const int reason = errno;
    ::close(descriptor_);
    refuse("map", path, reason);
  }
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  ::close(descriptor_);
}

std::span<const std::byte> MappedFile::bytes(std::uint64_t begin, std::uint64_t size) const {
  if (begin > size_ || size > size_ - begin) {
    fail(
        ErrorCode::format, kOperation,
        fmt::format("{} has {} bytes; {} from {} on are beyond its end", path_.string(), size_, size, begin));
  }
  if (size == 0) return {};
  struct stat about {};
  if (::fstat(descriptor_, &about) != 0) refuse("read", path_, errno);
  if (static_cast<std::uint64_t>(about.st_size) < begin + size) {
    fail(ErrorCode::io, kOperation,
         fmt::format("{} had {} bytes when it was opened and has {} now", path_.string(), size_,
                     about.st_size));
  }
  return {data_ + begin, size};
}

void MappedFile::drop(std::uint64_t begin, std::uint64_t size) const {
  if (begin > size_ || size > size_ - begin || size == 0) return;
  // Whole pages, outwards: a neighbour that shares one reads it again.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t first = begin / page * page;
  ::madvise(const_cast<std::byte*>(data_ + first), begin + size - first, MADV_DONTNEED);  // advice: may fail
}

}  // namespace headway::inline v1::io
