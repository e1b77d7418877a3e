#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace headway::inline v1::text {

/// All lines of a file, as LineReader reads them.
std::vector<std::string> read_lines(const std::filesystem::path& file, std::string_view operation,
                                    std::size_t max_bytes);

}  // namespace headway::inline v1::text
