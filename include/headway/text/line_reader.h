#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1::text {

inline constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;

struct LineOptions {
  std::string operation = "read sentences";  ///< that errors name
  std::size_t max_bytes = kMaxLineBytes;     ///< of a line
};

/// Lines of UTF-8 text, one at a time: what every way in goes through, so that a text is the same from a
/// file, a pipe or a keyboard. A line ends with LF or CR LF, and with nothing else: not with a lone CR, a
/// form feed, U+0085 or U+2028. The last line may lack its end. A byte order mark at the beginning is
/// skipped.
class HEADWAY_API LineReader {
 public:
  /// Error(io) when it cannot be opened.
  explicit LineReader(const std::filesystem::path& file, const LineOptions& options = {});
  /// A line from a pipe or a keyboard comes as soon as it is complete.
  static LineReader standard_input(const LineOptions& options = {});
  ~LineReader();
  LineReader(LineReader&& other) noexcept;
  LineReader& operator=(LineReader&&) = delete;

  /// The next line, without its end; false after the last one. Error(format) naming place and byte for text
  /// that is not UTF-8, a NUL or a line that is too long; the next call goes on with the line after it.
  /// Error(io) when the system refuses to read.
  bool next(std::string& line);
  /// Of the line that next() gave or refused: "a.txt, line 3".
  std::string place() const;

 private:
  LineReader(int descriptor, std::string name, const LineOptions& options);
  bool fill();
  void skip_line();
  void check(std::string_view line) const;
  [[noreturn]] void refuse(const std::string& message) const;
  int descriptor_ = -1;
  std::string name_;
  LineOptions options_;
  std::string waiting_;  // read, not handed out yet: from at_
  std::size_t at_ = 0;
  std::int64_t number_ = 0;
  bool ended_ = false;     // no more to read
  bool too_long_ = false;  // its rest is passed over first
};

}  // namespace headway::inline v1::text
