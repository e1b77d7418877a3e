#include <headway/core/error.h>
#include <headway/io/model_files.h>
#include <headway/io/safetensors.h>

#include "fuzz_file.h"

// Whatever the bytes are: the file is read, or refused by an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const headway::fuzz::MemoryFile file(data, size);
    headway::io::load_safetensors(file.path());
    for (const auto& stored : headway::io::open_safetensors(file.path()).tensors)
      headway::io::as_float32(stored).raw();
  } catch (const headway::Error&) {
  }
  return 0;
}
