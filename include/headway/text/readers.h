#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <headway/core/export.h>
#include <headway/text/corpus.h>
#include <headway/text/line_reader.h>

// Readers of parallel text. Text is UTF-8; a byte that is not, a NUL, a missing column or an oversized line
// is an Error(format) that names file, line and byte. Readers only read: nothing is filtered that clean()
// would filter.
namespace headway::inline v1::text {

struct HelpOptions {
  std::string source_language;  ///< "en", "de": picks the abbreviations that end no sentence
  std::string target_language;
};
struct HelpCounts {
  std::int64_t pages = 0;             ///< pages present in both trees
  std::int64_t reordered_pages = 0;   ///< pages whose paragraphs stand in another order (sorted glossaries)
  std::int64_t paragraphs = 0;        ///< paragraph pairs
  std::int64_t unpaired = 0;          ///< paragraphs without a counterpart
  std::int64_t split_paragraphs = 0;  ///< paragraphs cut in sentences
  std::int64_t whole_paragraphs = 0;  ///< of several sentences on a side, but not equally many: kept whole
};

/// Two trees of LibreOffice help pages, the same HTML files in each: `text/**/*.html` under `source_root` and
/// `target_root` (.../help/en-US, .../help/de). Paragraphs and headings are paired by position where the
/// sequences of tag and id agree, by tag and id elsewhere; sentences are split where both sides have equally
/// many. The document of a pair is the page's path below the root.
HEADWAY_API Pairs read_libreoffice_help(const std::filesystem::path& source_root,
                                        const std::filesystem::path& target_root, const HelpOptions& options,
                                        HelpCounts* counts = nullptr);

/// Example sentences of the Ding dictionary (Debian: trans-de-en, /usr/share/trans/de-en), German as the
/// source unless `english_first`. A document is an entry.
HEADWAY_API Pairs read_dictionary(const std::filesystem::path& file, bool english_first = true);

/// Two Bibles as SWORD's mod2imp prints them, paired by verse name; a document is a chapter.
HEADWAY_API Pairs read_bibles(const std::filesystem::path& source, const std::filesystem::path& target);

inline constexpr int kMaxColumns = 1 << 16;
/// What becomes of a line that is not as it should be.
enum class BadLines { refuse, skip };
/// What becomes of a pair with a side that is blank.
enum class BlankSides { keep, refuse };

struct TableOptions {
  int source_column = 0;
  int target_column = 1;
  int document_column = -1;  ///< -1: every `lines_per_document` consecutive lines are a document
  int columns = 0;           ///< of every line, exactly; 0: up to the last of those above
  BlankSides blank_sides = BlankSides::keep;
  BadLines bad_lines = BadLines::refuse;
  bool header = false;  ///< skip the first line
  std::int64_t lines_per_document = 20;
  std::size_t max_line_bytes = 1 << 16;
};
/// Lines that were skipped.
struct TableCounts {
  std::int64_t wrong_columns = 0;
  std::int64_t blank_sides = 0;  ///< refused ones
};
/// Columns separated by tabs, one pair a line. A line with more columns, or fewer, is no pair: which of them
/// are meant is not to be guessed. Error(format) names file, line and numbers, unless bad lines are to be
/// skipped.
HEADWAY_API Pairs read_tsv(const std::filesystem::path& file, const TableOptions& options = {},
                           TableCounts* counts = nullptr);

/// Line i of one file translates line i of the other. Columns of the options do not apply.
HEADWAY_API Pairs read_parallel(const std::filesystem::path& source, const std::filesystem::path& target,
                                const TableOptions& options = {}, TableCounts* counts = nullptr);

/// The lines of a file, as LineReader reads them.
HEADWAY_API std::vector<std::string> read_sentences(const std::filesystem::path& file,
                                                    std::size_t max_line_bytes = kMaxLineBytes);

}  // namespace headway::inline v1::text
