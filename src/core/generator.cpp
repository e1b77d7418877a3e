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

double Generator::uniform() {
  const auto words = next().words(0);
  return static_cast<double>(((std::uint64_t{words[1]} << 32) | words[0]) >> 11) * 0x1p-53;
}

}  // namespace headway::inline v1
