#pragma once
#include <cstdint>

/// The most that this processor can do now, in this run, on this many threads: what shares are
/// shares of.
namespace headway::bench {

/// 10^9 float32 operations per second (a multiply-add is two) of independent multiply-adds in registers, the
/// widest vectors that Highway finds. The best of several short loops: a neighbour can only slow it down.
double fma_ceiling(int threads);
/// The same of the processor's bfloat16 dot product with float32 sums; 0 where it has none.
double bf16_ceiling(int threads);
/// 10^9 bytes per second of reading two arrays of `bytes` each side by side, from pages of the library's own
/// allocator: what decoding, which reads keys and values once, is held against. Best of several.
double read_ceiling(int threads, std::int64_t bytes);

}  // namespace headway::bench
