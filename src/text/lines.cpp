#include "text/lines.h"

#include <fmt/format.h>

#include <algorithm>

#include <headway/core/error.h>

#include "text/file.h"
#include "text/utf8.h"

namespace headway::inline v1::text {

std::vector<std::string> read_lines(const std::filesystem::path& file, std::string_view operation,
                                    std::size_t max_bytes) {
  const std::string content = read_file(file, operation);
  std::string_view rest = content;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  std::vector<std::string> lines;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto where = [&] { return fmt::format("{}, line {},", file.string(), lines.size() + 1); };
    if (line.size() > max_bytes) {
      fail(ErrorCode::format, operation,
           fmt::format("{} is {} bytes long; want at most {}", where(), line.size(), max_bytes));
    }
    if (const std::size_t nul = line.find('\0'); nul != std::string_view::npos) {
      fail(ErrorCode::format, operation, fmt::format("{} has a NUL at position {}; want text", where(), nul));
    }
    if (find_invalid_utf8(line)) require_utf8(line, operation, where());
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace headway::inline v1::text
