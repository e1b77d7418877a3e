#include "io/memory_peak.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace headway::test {
namespace {

std::atomic<std::int64_t> current{0}, peak{0};

void* counted(void* block) {
  if (!block) throw std::bad_alloc();
  const auto bytes = static_cast<std::int64_t>(::malloc_usable_size(block));
  const std::int64_t now = current.fetch_add(bytes) + bytes;
  std::int64_t most = peak.load();
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
  return block;
}

void uncounted(void* block) {
  if (!block) return;
  current -= static_cast<std::int64_t>(::malloc_usable_size(block));
  std::free(block);
}

}  // namespace

std::int64_t allocated_bytes() { return current; }
std::int64_t peak_bytes() { return peak; }
void restart_peak() { peak = current.load(); }

}  // namespace headway::test

void* operator new(std::size_t size) { return headway::test::counted(std::malloc(size)); }
void operator delete(void* block) noexcept { headway::test::uncounted(block); }
void operator delete(void* block, std::size_t) noexcept { headway::test::uncounted(block); }
