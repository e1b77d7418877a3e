#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace headway::inline v1::text {

/// The lines of a UTF-8 file without their ends (LF or CR LF; the last may lack one) and without a byte order
/// mark. Error(format) naming file, line and byte for invalid UTF-8, a NUL, or a line of more than
/// `max_bytes`.
std::vector<std::string> read_lines(const std::filesystem::path& file, std::string_view operation,
                                    std::size_t max_bytes);

}  // namespace headway::inline v1::text
