#include <fmt/format.h>

#include <algorithm>

#include <headway/core/error.h>
#include <headway/text/readers.h>

#include "text/lines.h"

namespace headway::inline v1::text {
namespace {

// Columns are counted from 0.
int least_columns(const TableOptions& options) {
  return std::max({options.source_column, options.target_column, options.document_column}) + 1;
}

void check_options(const TableOptions& options) {
  if (options.source_column < 0 || options.target_column < 0 || options.document_column < -1) {
    fail(ErrorCode::value, "read TSV",
         fmt::format("columns are source {}, target {}, document {}; want 0 or more, -1 for no document",
                     options.source_column, options.target_column, options.document_column));
  }
  if (options.columns != 0 && options.columns < least_columns(options)) {
    fail(
        ErrorCode::value, "read TSV",
        fmt::format("columns is {}, columns of pair and document reach up to {}; want at least so many, or 0",
                    options.columns, least_columns(options)));
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

// Refuses or skips what is no pair, and counts.
struct PairFilter {
  PairFilter(std::string_view name, const TableOptions& how) : operation(name), options(how) {}

  void wrong_columns(const std::string& place, std::size_t got, std::size_t wanted) {
    if (options.bad_lines == BadLines::refuse) {
      fail(ErrorCode::format, operation,
           fmt::format("{}, has {} columns; want {}, separated by tabs", place, got, wanted));
    }
    ++counts.wrong_columns;
  }
  bool keeps(const Pair& pair, const std::string& place) {
    if (options.blank_sides == BlankSides::keep) return true;
    const bool no_source = normalize_space(pair.source).empty();
    if (!no_source && !normalize_space(pair.target).empty()) return true;
    if (options.bad_lines == BadLines::refuse) {
      fail(
          ErrorCode::format, operation,
          fmt::format("{}, has a blank {}; want text on both sides", place, no_source ? "source" : "target"));
    }
    ++counts.blank_sides;
    return false;
  }

  std::string operation;
  const TableOptions& options;
  TableCounts counts;
};

}  // namespace

Pairs read_tsv(const std::filesystem::path& file, const TableOptions& options, TableCounts* counts) {
  check_options(options);
  const auto wanted =
      static_cast<std::size_t>(options.columns > 0 ? options.columns : least_columns(options));
  LineReader reader(file, {.operation = "read TSV", .max_bytes = options.max_line_bytes});
  PairFilter filter("read TSV", options);
  Pairs pairs;
  std::string line;
  for (std::size_t i = 0; reader.next(line); ++i) {
    if (i == 0 && options.header) continue;
    const auto columns = columns_of(line);
    if (columns.size() != wanted) {
      filter.wrong_columns(reader.place(), columns.size(), wanted);
      continue;
    }
    const auto column = [&](int at) { return std::string(columns[static_cast<std::size_t>(at)]); };
    Pair pair{column(options.source_column), column(options.target_column),
              options.document_column < 0 ? document_of(i, options) : column(options.document_column)};
    if (filter.keeps(pair, reader.place())) pairs.push_back(std::move(pair));
  }
  if (counts != nullptr) *counts = filter.counts;
  return pairs;
}

Pairs read_parallel(const std::filesystem::path& source, const std::filesystem::path& target,
                    const TableOptions& options, TableCounts* counts) {
  check_options(options);
  const auto a = read_lines(source, "read parallel files", options.max_line_bytes);
  const auto b = read_lines(target, "read parallel files", options.max_line_bytes);
  if (a.size() != b.size()) {
    fail(ErrorCode::format, "read parallel files",
         fmt::format("{} has {} lines, {} has {}; want equally many", source.string(), a.size(),
                     target.string(), b.size()));
  }
  PairFilter filter("read parallel files", options);
  Pairs pairs;
  for (std::size_t i = options.header ? 1 : 0; i < a.size(); ++i) {
    Pair pair{a[i], b[i], document_of(i, options)};
    if (filter.keeps(pair, fmt::format("{} and {}, line {}", source.string(), target.string(), i + 1)))
      pairs.push_back(std::move(pair));
  }
  if (counts != nullptr) *counts = filter.counts;
  return pairs;
}

std::vector<std::string> read_sentences(const std::filesystem::path& file, std::size_t max_line_bytes) {
  return read_lines(file, "read sentences", max_line_bytes);
}

}  // namespace headway::inline v1::text
