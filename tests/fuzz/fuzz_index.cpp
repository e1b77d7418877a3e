#include <filesystem>
#include <fstream>

#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/io/model_files.h>
#include <headway/io/safetensors.h>

#include "fuzz_file.h"

// Whatever the bytes are: the file is read, or refused by an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    static const std::filesystem::path folder = [] {
      char name[] = "/tmp/headway-fuzz-XXXXXX";
      if (!::mkdtemp(name)) std::abort();
      headway::io::save_safetensors(std::filesystem::path(name) / "a", {{"w", headway::zeros({2})}});
      return std::filesystem::path(name);
    }();
    std::ofstream(folder / "model.safetensors.index.json", std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    headway::io::open_model_files(folder);
  } catch (const headway::Error&) {
  }
  return 0;
}
