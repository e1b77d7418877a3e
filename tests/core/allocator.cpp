#include <headway/core/allocator.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include <headway/core/error.h>
#include <headway/core/tensor.h>

// Sanitizers end the program at an allocation beyond their limit, unless told to refuse it as the system
// would.
#if defined(__SANITIZE_ADDRESS__)
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
#elif __has_feature(thread_sanitizer)
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}
#endif
#endif

namespace headway {
namespace {

TEST(Allocator, counts_what_is_live_and_the_most_that_was) {
  reset_peak();
  const MemoryStats before = memory_stats();
  {
    const Tensor a = Tensor::empty({1000});
    EXPECT_EQ(memory_stats().current - before.current, 4000);
    {
      const core::Workspace workspace(5000);
      EXPECT_EQ(memory_stats().current - before.current, 9000);
    }
    const core::Workspace smaller(100);  // the most that was is not lowered by what follows
    EXPECT_EQ(memory_stats().current - before.current, 4100);
  }
  const MemoryStats after = memory_stats();
  EXPECT_EQ(after.current, before.current);
  EXPECT_EQ(after.peak - before.current, 9000);
  EXPECT_EQ(after.allocations - before.allocations, 3);
  reset_peak();
  EXPECT_EQ(memory_stats().peak, memory_stats().current);
}

TEST(Allocator, views_and_handles_share_one_block) {
  const auto before = memory_stats().current;
  const Tensor a = Tensor::empty({100});
  const Tensor b = a, c = a.strided({50}, {2}, 0), d = a.detach();
  EXPECT_EQ(memory_stats().current - before, 400);
}

TEST(Allocator, meta_tensors_take_no_bytes) {
  const auto before = memory_stats().current;
  const Tensor x = Tensor::empty({1 << 20, 1 << 10}, DType::float32, Device::meta);
  EXPECT_EQ(memory_stats().current, before);
}

TEST(Allocator, memory_is_aligned_for_vectors) {
  for (const std::size_t bytes : {1u, 63u, 64u, 1000u, 100000u, 5u << 20}) {
    const core::Workspace workspace(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(workspace.as<char>()) % 64, 0u) << bytes;
    workspace.as<char>()[bytes - 1] = 1;
  }
}

TEST(Allocator, cached_blocks_can_be_given_back) {
  { const core::Workspace workspace(1 << 20); }
  release_cached_memory();
  EXPECT_EQ(memory_stats().cached, 0);
}

TEST(Allocator, what_the_system_does_not_have_is_an_error_of_memory) {
  try {
    const core::Workspace workspace(std::size_t{1} << 60);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::memory);
  }
}

}  // namespace
}  // namespace headway
