#include <fmt/format.h>

#include <algorithm>

#include <headway/core/error.h>
#include <headway/text/readers.h>

#include "text/lines.h"

namespace headway::inline v1::text {
namespace {

void check_options(const TableOptions& options) {
  if (options.source_column < 0 || options.target_column < 0 || options.document_column < -1) {
    fail(ErrorCode::value, "read TSV",
         fmt::format("columns are source {}, target {}, document {}; want 0 or more, -1 for no document",
                     options.source_column, options.target_column, options.document_column));
  }
  if (options.lines_per_document < 1) {
    fail(ErrorCode::value, "read TSV",
         fmt::format("lines_per_document is {}; want at least 1", options.lines_per_document));
  }
}

// Neighbouring lines of a text belong together, so that they fall on the same side of a split.
std::string document_of(std::size_t line, const TableOptions& options) {
  return fmt::format("lines {}", static_cast<std::int64_t>(line) / options.lines_per_document);
}

std::vector<std::string_view> columns_of(std::string_view line) {
  std::vector<std::string_view> columns;
  for (;;) {
    const std::size_t end = line.find('\t');
    columns.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return columns;
    line.remove_prefix(end + 1);
  }
}

}  // namespace

Pairs read_tsv(const std::filesystem::path& file, const TableOptions& options) {
  check_options(options);
  const auto lines = read_lines(file, "read TSV", options.max_line_bytes);
  const auto wanted = static_cast<std::size_t>(
                          std::max({options.source_column, options.target_column, options.document_column})) +
                      1;
  Pairs pairs;
  for (std::size_t i = options.header ? 1 : 0; i < lines.size(); ++i) {
    const auto columns = columns_of(lines[i]);
    if (columns.size() < wanted) {
      fail(ErrorCode::format, "read TSV",
           fmt::format("{}, line {}, has {} columns; want at least {}, separated by tabs", file.string(),
                       i + 1, columns.size(), wanted));
    }
    const auto column = [&](int at) { return std::string(columns[static_cast<std::size_t>(at)]); };
    pairs.push_back(
        {column(options.source_column), column(options.target_column),
         options.document_column < 0 ? document_of(i, options) : column(options.document_column)});
  }
  return pairs;
}

Pairs read_parallel(const std::filesystem::path& source, const std::filesystem::path& target,
                    const TableOptions& options) {
  check_options(options);
  const auto a = read_lines(source, "read parallel files", options.max_line_bytes);
  const auto b = read_lines(target, "read parallel files", options.max_line_bytes);
  if (a.size() != b.size()) {
    fail(ErrorCode::format, "read parallel files",
         fmt::format("{} has {} lines, {} has {}; want equally many", source.string(), a.size(),
                     target.string(), b.size()));
  }
  Pairs pairs;
  for (std::size_t i = options.header ? 1 : 0; i < a.size(); ++i) {
    pairs.push_back({a[i], b[i], document_of(i, options)});
  }
  return pairs;
}

std::vector<std::string> read_sentences(const std::filesystem::path& file, std::size_t max_line_bytes) {
  return read_lines(file, "read sentences", max_line_bytes);
}

}  // namespace headway::inline v1::text
