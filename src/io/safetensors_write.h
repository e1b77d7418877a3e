#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <headway/io/model_files.h>

namespace headway::inline v1::io {

/// Writes one safetensors file, atomically: the entries that `chosen` points to, each in its own dtype; wider
/// types come first, so that all are aligned, and the order is kept otherwise. Names are checked.
void write_safetensors(const std::filesystem::path& path, const std::vector<const OutputTensor*>& chosen,
                       const std::map<std::string, std::string>& metadata, std::string_view operation);

}  // namespace headway::inline v1::io
