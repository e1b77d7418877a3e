// libFuzzer target: the first byte chooses how the rest is read. Built with clang, where
// HEADWAY_BUILD_FUZZERS is on.
#include <cstddef>
#include <cstdint>
#include <string>

#include <headway/core/error.h>
#include <headway/text/hub_tokenizer.h>

#include "text/hub/converters.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] % 2 == 0) {
      const auto tokenizer = headway::text::HubTokenizer::from_json(bytes);
      tokenizer.decode(tokenizer.encode("Zwei Heads 12 [x]").ids);
    } else {
      headway::text::hub::read_spm(bytes, "fuzz");
    }
  } catch (const headway::Error&) {
  }
  return 0;
}
