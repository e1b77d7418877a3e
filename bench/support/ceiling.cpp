#include "support/ceiling.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>

#include <headway/core/allocator.h>
#include <headway/core/parallel.h>

#include "support/worker.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "support/ceiling.cpp"
#include <hwy/foreach_target.h>  // NOLINT(misc-header-include-cycle): this file is compiled once for each ISA
#include <hwy/highway.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace headway::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Twelve chains cover the latency of 4 cycles at two or three multiply-adds per cycle, and fit 16 registers.
// They start from different values: equal ones a compiler merges into one, whose rate is its latency's. a·x +
// b with |a| < 1 stays finite. Returns operations.
double fma_loop(std::int64_t rounds, float* sink) {
  const hn::ScalableTag<float> f;
  using V = hn::Vec<decltype(f)>;
  const V a = hn::Set(f, 0.999f);
  const V b = hn::Set(f, 0.001f);
  V x0 = hn::Set(f, 0.f), x1 = hn::Set(f, 1.f), x2 = hn::Set(f, 2.f), x3 = hn::Set(f, 3.f);
  V x4 = hn::Set(f, 4.f), x5 = hn::Set(f, 5.f), x6 = hn::Set(f, 6.f), x7 = hn::Set(f, 7.f);
  V x8 = hn::Set(f, 8.f), x9 = hn::Set(f, 9.f), x10 = hn::Set(f, 10.f), x11 = hn::Set(f, 11.f);
  for (std::int64_t i = 0; i < rounds; ++i) {
    x0 = hn::MulAdd(x0, a, b);
    x1 = hn::MulAdd(x1, a, b);
    x2 = hn::MulAdd(x2, a, b);
    x3 = hn::MulAdd(x3, a, b);
    x4 = hn::MulAdd(x4, a, b);
    x5 = hn::MulAdd(x5, a, b);
    x6 = hn::MulAdd(x6, a, b);
    x7 = hn::MulAdd(x7, a, b);
    x8 = hn::MulAdd(x8, a, b);
    x9 = hn::MulAdd(x9, a, b);
    x10 = hn::MulAdd(x10, a, b);
    x11 = hn::MulAdd(x11, a, b);
  }
  const V sum = hn::Add(
      hn::Add(hn::Add(x0, x1), hn::Add(x2, x3)),
      hn::Add(hn::Add(hn::Add(x4, x5), hn::Add(x6, x7)), hn::Add(hn::Add(x8, x9), hn::Add(x10, x11))));
  *sink = hn::GetLane(sum);
  return 2.0 * 12.0 * static_cast<double>(hn::Lanes(f)) * static_cast<double>(rounds);
}

// Both arrays side by side, a cache line of each in turn, as decoding walks keys and values; eight sums, so
// that no addition waits for another. `count` elements of each, a multiple of 16.
float read_loop(const float* a, const float* b, std::int64_t count) {
  const hn::CappedTag<float, 16> f;
  using V = hn::Vec<decltype(f)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(f));
  V s0 = hn::Zero(f), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  const std::int64_t step = 4 * lanes;
  for (std::int64_t i = 0; i + step <= count; i += step) {
    s0 = hn::Add(s0, hn::LoadU(f, a + i));
    s1 = hn::Add(s1, hn::LoadU(f, b + i));
    s2 = hn::Add(s2, hn::LoadU(f, a + i + lanes));
    s3 = hn::Add(s3, hn::LoadU(f, b + i + lanes));
    s4 = hn::Add(s4, hn::LoadU(f, a + i + 2 * lanes));
    s5 = hn::Add(s5, hn::LoadU(f, b + i + 2 * lanes));
    s6 = hn::Add(s6, hn::LoadU(f, a + i + 3 * lanes));
    s7 = hn::Add(s7, hn::LoadU(f, b + i + 3 * lanes));
  }
  return hn::GetLane(
      hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), hn::Add(s6, s7))));
}

}  // namespace headway::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::bench {
HWY_EXPORT(fma_loop);
HWY_EXPORT(read_loop);
namespace {

#if defined(__x86_64__) && defined(__GNUC__)
#define HEADWAY_BENCH_BF16 1
// Highway 1.0.3 emulates this product, so the instruction is named here.
__attribute__((target("avx512f,avx512bf16"))) double bf16_loop(std::int64_t rounds, float* sink) {
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3c003c00);  // 2^-7, twice
  __m512 x[12];
  for (int i = 0; i < 12; ++i) x[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512& each : x) each = _mm512_dpbf16_ps(each, a, a);
  }
  for (int i = 1; i < 12; ++i) x[0] = _mm512_add_ps(x[0], x[i]);
  *sink = _mm512_cvtss_f32(x[0]);
  return 2.0 * 2.0 * 12.0 * 16.0 * static_cast<double>(rounds);
}
#endif

// Every thread runs the loop; operations per second of the slowest to finish, best of several.
double best_rate(int thread_count, const std::function<double(std::int64_t, float*)>& loop) {
  set_threads(thread_count);
  constexpr std::int64_t kRounds = 4'000'000;  // some 10 ms
  alignas(64) float sinks[64 * 16];
  double best = 0;
  for (int repeat = 0; repeat < 12; ++repeat) {
    double operations = 0;
    const double begin = now();
    core::parallel_for(thread_count, [&](std::int64_t thread) {
      const double mine = loop(kRounds, sinks + 16 * (thread % 64));
      if (thread == 0) operations = mine;
    });
    best = std::max(best, operations * thread_count / (now() - begin));
  }
  return best / 1e9;
}

}  // namespace

double fma_ceiling(int threads) {
  return best_rate(
      threads, [](std::int64_t rounds, float* sink) { return HWY_DYNAMIC_DISPATCH(fma_loop)(rounds, sink); });
}

double bf16_ceiling([[maybe_unused]] int threads) {
#ifdef HEADWAY_BENCH_BF16
  if (__builtin_cpu_supports("avx512bf16")) return best_rate(threads, bf16_loop);
#endif
  return 0;
}

double read_ceiling(int thread_count, std::int64_t bytes) {
  set_threads(thread_count);
  // A thread's share; whole steps of the loop above for vectors of any length.
  const std::int64_t part = bytes / 4 / thread_count / 64 * 64;
  if (part == 0) return 0;
  const core::Workspace first(static_cast<std::size_t>(bytes)), second(static_cast<std::size_t>(bytes));
  std::memset(first.as<void>(), 0, first.bytes());
  std::memset(second.as<void>(), 0, second.bytes());
  alignas(64) float sinks[64 * 16];
  double best = 0, spent = 0;
  for (int repeat = 0; repeat < 8 || spent < 0.05; ++repeat) {
    const double begin = now();
    core::parallel_for(thread_count, [&](std::int64_t thread) {
      sinks[16 * (thread % 64)] = HWY_DYNAMIC_DISPATCH(read_loop)(first.as<float>() + thread * part,
                                                                  second.as<float>() + thread * part, part);
    });
    const double seconds = now() - begin;
    spent += seconds;
    best = std::max(best, 2.0 * 4 * static_cast<double>(part * thread_count) / seconds);
  }
  return best / 1e9;
}

}  // namespace headway::bench
#endif
