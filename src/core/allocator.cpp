#include <headway/core/allocator.h>

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/fork.h>

namespace headway::inline v1 {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Above this a block is worth its own huge pages (fewer TLB misses: reads gain 10-20 % on Zen 4).
constexpr std::size_t kHugeFrom = std::size_t{4} << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCacheBlocks = false;  // a cached block would hide a use after free
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr bool kCacheBlocks = false;
#else
constexpr bool kCacheBlocks = true;
#endif
#else
constexpr bool kCacheBlocks = true;
#endif

// Sizes are rounded to one of eight steps per power of two: at most 12.5 % is lost, and a training step,
// whose sizes vary with the batch, finds its blocks again.
std::size_t bucket(std::size_t bytes) {
  if (bytes <= 512) return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;  // NOLINT(clang-analyzer-core.DivideZero): step >= 64
}

class Pool {
 public:
  void* take(std::size_t bytes) {
    const std::size_t size = bucket(bytes);
    void* pointer = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
        pointer = it->second.back();
        it->second.pop_back();
        stats_.cached -= static_cast<std::int64_t>(size);
      }
    }
    if (!pointer) pointer = from_system(size, bytes);
    std::lock_guard lock(mutex_);
    stats_.current += static_cast<std::int64_t>(bytes);
    stats_.peak = std::max(stats_.peak, stats_.current);
    ++stats_.allocations;
    return pointer;
  }

  void give(void* pointer, std::size_t bytes) noexcept {
    const std::size_t size = bucket(bytes);
    std::lock_guard lock(mutex_);
    stats_.current -= static_cast<std::int64_t>(bytes);
    if (kCacheBlocks) {
      try {
        free_[size].push_back(pointer);
        stats_.cached += static_cast<std::int64_t>(size);
        return;
      } catch (const std::bad_alloc&) {  // no room to remember the block: let it go
      }
    }
    std::free(pointer);
  }

  void release() {
    std::lock_guard lock(mutex_);
    release_locked();
  }

  MemoryStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak = stats_.current;
  }

 private:
  void release_locked() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) std::free(block);
    }
    free_.clear();
    stats_.cached = 0;
  }

  void* from_system(std::size_t size, std::size_t asked) {
    if (!kCacheBlocks) {  // exactly what was asked for, so that a sanitizer sees the first byte beyond it
      void* exact = nullptr;
      if (posix_memalign(&exact, kAlignment, asked) == 0) return exact;
    }
    const bool huge = size >= kHugeFrom;
    for (const bool last : {false, true}) {
      void* pointer = std::aligned_alloc(huge ? kHugePage : kAlignment,
                                         huge ? (size + kHugePage - 1) / kHugePage * kHugePage : size);
      if (pointer) {
        if (huge) madvise(pointer, size, MADV_HUGEPAGE);  // advice: failing changes speed only
        return pointer;
      }
      if (!last) release();
    }
    fail(ErrorCode::memory, "allocate",
         fmt::format("{} bytes are not to be had; {} are live", asked, stats().current));
  }

  core::WaitedMutex<std::mutex> mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryStats stats_;
};

// Never destroyed: tensors in static objects may outlive any order of destruction we choose.
Pool& pool = *new Pool;

}  // namespace

MemoryStats memory_stats() { return pool.stats(); }
void reset_peak() { pool.reset_peak(); }
void release_cached_memory() { pool.release(); }

namespace core {
void* allocate(std::size_t bytes) { return bytes == 0 ? nullptr : pool.take(bytes); }
void deallocate(void* pointer, std::size_t bytes) noexcept {
  if (pointer) pool.give(pointer, bytes);
}
}  // namespace core
}  // namespace headway::inline v1
