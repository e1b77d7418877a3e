#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <headway/io/mapped_file.h>

#include "io/stored_type.h"

namespace headway::inline v1::io {

constexpr std::string_view kMetadata = "__metadata__";

struct HeaderEntry {
  std::string name;
  const StoredTypeInfo* type = nullptr;
  Shape shape;
  std::uint64_t begin = 0, end = 0;  // within the data
};

struct SafeTensorsHeader {
  std::vector<HeaderEntry> entries;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
  std::uint64_t data = 0;  // where the data begins in the file
};

/// Reads and checks everything but the bytes of the tensors. Error(format) names `operation`, file and
/// tensor.
SafeTensorsHeader read_safetensors_header(const MappedFile& file, std::string_view operation);

}  // namespace headway::inline v1::io
