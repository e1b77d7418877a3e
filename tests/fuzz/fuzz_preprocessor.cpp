#include <filesystem>
#include <fstream>

#include <headway/core/error.h>
#include <headway/io/image_processor.h>

#include "fuzz_file.h"

// Whatever the bytes are: the file is read, or refused by an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    static const std::filesystem::path folder = [] {
      char name[] = "/tmp/headway-fuzz-XXXXXX";
      if (!::mkdtemp(name)) std::abort();
      return std::filesystem::path(name);
    }();
    std::ofstream(folder / "preprocessor_config.json", std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    headway::io::ImageProcessor::load(folder);
  } catch (const headway::Error&) {
  }
  return 0;
}
