#include <headway/core/error.h>
#include <headway/io/gguf.h>

#include "fuzz_file.h"

// Whatever the bytes are: the file is read, or refused by an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const headway::fuzz::MemoryFile file(data, size);
    for (const auto& stored : headway::io::open_gguf(file.path()).tensors.tensors)
      headway::io::as_float32(stored).raw();
  } catch (const headway::Error&) {
  }
  return 0;
}
