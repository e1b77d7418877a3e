#include <headway/core/generator.h>

#include <headway/core/error.h>

namespace headway::inline v1 {

namespace {
__extension__ using Wide = unsigned __int128;
}

std::uint64_t Generator::below(std::uint64_t bound) {
  if (bound == 0) fail(ErrorCode::value, "generator", "below(0) has no answer; want a bound of at least 1");
  const RandomCall call = next();
  const auto words = call.words(0);
  const std::uint64_t wide = (std::uint64_t{words[1]} << 32) | words[0];
  // Multiply-shift (Lemire 2019); the bias, below bound/2^64, is not worth a rejection loop.
  return static_cast<std::uint64_t>((static_cast<Wide>(wide) * bound) >> 64);
}

Generator Generator::stream(std::uint64_t a, std::uint64_t b) const {
  // 2·64 bits fill the counter, so the seed alone is the key; the mark keeps it another key than that
  // of the generator's own calls.
  constexpr std::uint64_t kMark = 0x9FB21C651E98DF25u;
  const auto words = core::philox({static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32),
                                   static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32)},
                                  seed_ ^ kMark);
  return Generator((std::uint64_t{words[1]} << 32) | words[0]);
}

double Generator::uniform() {
  const auto words = next().words(0);
  return static_cast<double>(((std::uint64_t{words[1]} << 32) | words[0]) >> 11) * 0x1p-53;
}

}  // namespace headway::inline v1
