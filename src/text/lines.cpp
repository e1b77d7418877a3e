#include "text/lines.h"

#include <headway/text/line_reader.h>

namespace headway::inline v1::text {

std::vector<std::string> read_lines(const std::filesystem::path& file, std::string_view operation,
                                    std::size_t max_bytes) {
  LineReader reader(file, {.operation = std::string(operation), .max_bytes = max_bytes});
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

}  // namespace headway::inline v1::text
