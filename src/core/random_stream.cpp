#include <headway/core/random_stream.h>

namespace headway::inline v1::core {

Generator random_stream(const Generator& of, std::uint64_t a, std::uint64_t b) {
  // 2·64 bits fill the counter, so the seed alone is the key; the mark keeps it another key than that of the
  // generator's own calls.
  constexpr std::uint64_t kMark = 0x9FB21C651E98DF25u;
  const auto words = philox({static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32),
                             static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32)},
                            of.seed() ^ kMark);
  return Generator((std::uint64_t{words[1]} << 32) | words[0]);
}

}  // namespace headway::inline v1::core
