#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <headway/core/export.h>

/// Files that are either as they were or complete, whenever the machine stops: bytes go to a temporary name
/// beside the target, are synced, and are renamed into place; then the folder is synced, since a rename is
/// only as durable as it.
namespace headway::inline v1::io {

/// Writes one file. Without commit() the target stays as it was and the temporary file is removed.
class HEADWAY_API AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  int descriptor_ = -1;
};

/// Builds a folder under a temporary name. commit() gives it its name: it must not exist yet.
class HEADWAY_API AtomicFolder {
 public:
  explicit AtomicFolder(std::filesystem::path target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// Where to write the files until commit().
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

HEADWAY_API void write_file(const std::filesystem::path& path, std::string_view bytes);
/// The whole file. Error(io) when it cannot be read, Error(format) when it is longer than `limit` bytes.
HEADWAY_API std::string read_file(const std::filesystem::path& path,
                                  std::uint64_t limit = std::uint64_t{1} << 30);

/// Makes the folder and those above it.
HEADWAY_API void make_folder(const std::filesystem::path& path);
/// Removes a folder so that a stop half-way leaves nothing under its name.
HEADWAY_API void remove_folder(const std::filesystem::path& path);
/// Removes what writes into this folder left behind when their process was killed. One process at a time may
/// write to a folder that is cleaned.
HEADWAY_API void remove_leftovers(const std::filesystem::path& folder);

}  // namespace headway::inline v1::io
