#include <headway/core/error.h>
#include <headway/io/idx.h>

#include "fuzz_file.h"

// Whatever the bytes are: the file is read, or refused by an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const headway::fuzz::MemoryFile file(data, size);
    headway::io::read_idx(file.path(), 1 << 20);
  } catch (const headway::Error&) {
  }
  return 0;
}
