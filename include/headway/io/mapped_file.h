#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include <headway/core/export.h>

namespace headway::inline v1::io {

/// A regular file mapped for reading: opening costs address space, no memory. Pages come in as they are read
/// and belong to the system's page cache, which takes them back when memory is short.
///
/// The file must keep its length while it is mapped: to touch a page that is gone kills a process (SIGBUS).
/// bytes() therefore asks for the length again, which costs less than a microsecond, and turns a file that
/// was cut into an Error. What is cut between that question and the reading is not caught: replace model
/// files by renaming, as AtomicFile does, and never truncate them in place.
class HEADWAY_API MappedFile {
 public:
  /// Error(io) when the file cannot be opened or mapped, or is no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  /// The bytes [begin, begin + size). Error(format) when they are not within the file, Error(io) when the
  /// file has become shorter since it was opened.
  std::span<const std::byte> bytes(std::uint64_t begin, std::uint64_t size) const;
  /// Says that these bytes are not needed for now: the process gives their pages back
  /// (madvise(MADV_DONTNEED)). Reading them again is right, and costs page faults.
  void drop(std::uint64_t begin, std::uint64_t size) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  const std::byte* data_ = nullptr;
};

}  // namespace headway::inline v1::io
