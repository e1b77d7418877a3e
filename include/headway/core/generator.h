#pragma once
#include <array>
#include <cstdint>

#include <headway/core/export.h>

namespace headway::inline v1 {

namespace core {
/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random words from
/// a 128-bit counter and a 64-bit key. No state, so any element of a stream can be drawn again, in any order.
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}
/// Uniform in [0, 1) with 24 bits.
inline float uniform01(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
}  // namespace core

/// One draw of a generator: everything needed to draw the same numbers again.
struct RandomCall {
  std::uint64_t seed = 0;
  std::uint64_t call = 0;
  /// Words number `index` of this call (four at a time). `lane` separates streams within a call.
  std::array<std::uint32_t, 4> words(std::uint64_t index, std::uint32_t lane = 0) const {
    // The call id is mixed into the key, which leaves the whole counter for coordinates.
    return core::philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), lane,
                         static_cast<std::uint32_t>(call)},
                        seed ^ (call >> 32));
  }
};

/// A counter-based generator: a seed and the number of the next call. Copy it, save it, restore it: two
/// numbers. Not thread-safe; the draws of one call are spread over threads and do not depend on their number.
class HEADWAY_API Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : seed_(seed) {}
  Generator(std::uint64_t seed, std::uint64_t next_call) : seed_(seed), next_(next_call) {}
  RandomCall next() { return {seed_, next_++}; }
  std::uint64_t seed() const { return seed_; }
  std::uint64_t next_call() const { return next_; }
  /// Uniform integer in [0, bound); a call of its own.
  std::uint64_t below(std::uint64_t bound);
  /// Uniform in [0, 1); a call of its own.
  double uniform();

 private:
  std::uint64_t seed_;
  std::uint64_t next_ = 0;
};

}  // namespace headway::inline v1
