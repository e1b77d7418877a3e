#include <span>

#include <headway/core/error.h>
#include <headway/io/image.h>

#include "fuzz_file.h"

// Whatever the bytes are: the file is read, or refused by an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    headway::io::decode_image(std::as_bytes(std::span(data, size)), "input", {.pixels = 1 << 16});
  } catch (const headway::Error&) {
  }
  return 0;
}
