// Does wrong on purpose, in the ways our sanitizer presets are there to see. Each preset has a test that
// requires the report: a sanitizer that sees nothing (a missing runtime, Archer not loaded, a caching
// allocator) would pass all others.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string_view>
#include <thread>

#include <headway/core/factory.h>
#include <headway/core/parallel.h>

namespace hw = headway;

int main(int count, char** arguments) {
  const std::string_view slip = count > 1 ? arguments[1] : "";
  if (slip == "race") {
    hw::set_threads(4);
    long total = 0;
    // Each unit waits for the others, so that all stand on threads of their own; relaxed counting orders
    // nothing.
    std::atomic<int> arrived{0};
    hw::core::parallel_for(4, [&](std::int64_t unit) {
      arrived.fetch_add(1, std::memory_order_relaxed);
      while (arrived.load(std::memory_order_relaxed) < 4) std::this_thread::yield();
      total += unit;
    });
    std::printf("%ld\n", total);
  } else if (slip == "beyond") {
    const hw::Tensor x = hw::zeros({5, 13});
    const volatile float* elements = x.data<float>();
    std::printf("%g\n", elements[65]);
  } else if (slip == "freed") {
    const volatile float* elements = nullptr;
    {
      const hw::Tensor x = hw::zeros({64});
      elements = x.data<float>();
    }
    std::printf("%g\n", elements[0]);
  } else if (slip == "overflow") {
    volatile int big = std::numeric_limits<int>::max();
    std::printf("%d\n", big + count);
  } else if (slip == "none") {
    hw::set_threads(4);
    const hw::Tensor x = hw::zeros({4096});
    float* elements = x.data<float>();
    for (int round = 0; round < 3; ++round) {
      hw::core::parallel_ranges(4096, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) elements[i] += static_cast<float>(i);
      });
    }
    std::printf("%g\n", elements[1]);
  } else {
    std::fputs("usage: deliberate race | beyond | freed | overflow | none\n", stderr);
    return 2;
  }
  return 0;
}
