#pragma once
#include <cstddef>
#include <cstdint>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// Counters of the host allocator, in bytes asked for by live tensors and workspaces (cached blocks do not
/// count).
struct MemoryStats {
  std::int64_t current = 0;  ///< live now
  std::int64_t peak = 0;     ///< most that was ever live at once since reset_peak()
  std::int64_t cached = 0;   ///< freed, and kept for the next allocation of that size
  std::int64_t allocations = 0;
};

HEADWAY_API MemoryStats memory_stats();
/// Starts a new high-water measurement: peak becomes current.
HEADWAY_API void reset_peak();
/// Gives cached blocks back to the system.
HEADWAY_API void release_cached_memory();

namespace core {
/// Memory for `bytes`, aligned to 64 (to 2 MiB, in huge pages where the system has them, from 4 MiB up).
/// Not initialised. Error(memory) when there is none.
HEADWAY_API void* allocate(std::size_t bytes);
HEADWAY_API void deallocate(void* pointer, std::size_t bytes) noexcept;

/// A workspace of bytes, counted by the allocator, freed with the object.
class HEADWAY_API Workspace {
 public:
  explicit Workspace(std::size_t bytes) : pointer_(allocate(bytes)), bytes_(bytes) {}
  ~Workspace() { deallocate(pointer_, bytes_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(pointer_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* pointer_;
  std::size_t bytes_;
};
}  // namespace core
}  // namespace headway::inline v1
