#include <headway/text/line_reader.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "text/expect_error.h"
#include "text/temporary_folder.h"

namespace headway::text {
namespace {

using Lines = std::vector<std::string>;

Lines all_of(LineReader reader) {
  Lines lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

// The same bytes by way of standard input, as a pipe gives them.
Lines piped(const std::string& bytes) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  EXPECT_EQ(::write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ::close(ends[1]);
  const int kept = ::dup(STDIN_FILENO);
  ::dup2(ends[0], STDIN_FILENO);
  ::close(ends[0]);
  Lines lines = all_of(LineReader::standard_input());
  if (kept >= 0) {
    ::dup2(kept, STDIN_FILENO);
    ::close(kept);
  }
  return lines;
}

TEST(LineReader, ends_lines_at_lf_and_cr_lf_alone) {
  const TemporaryFolder folder;
  const std::string one = "a\rb\u2028c\u2029d\u0085e\vf\fg\x1C\x1D\x1E";
  const std::string text = "\xEF\xBB\xBF" + one + "\r\n\n\xEF\xBB\xBFx\r\r\nlast\r";
  const Lines want{one, "", "\xEF\xBB\xBFx\r", "last\r"};
  EXPECT_EQ(all_of(LineReader(folder.write("a", text))), want);
  EXPECT_EQ(piped(text), want);
  for (const char* nothing : {"", "\xEF\xBB\xBF"}) EXPECT_TRUE(piped(nothing).empty());
  EXPECT_EQ(piped("\n"), Lines{""});
}

TEST(LineReader, names_place_and_byte_and_goes_on_after_a_bad_line) {
  const TemporaryFolder folder;
  const std::string text = std::string("good\na\0b\n", 9) + "\xC3(\n" + std::string(300'000, 'x') + "\nend";
  LineReader reader(folder.write("a", text), {.operation = "read", .max_bytes = 1000});
  std::string line;
  EXPECT_TRUE(reader.next(line));
  expect_error(ErrorCode::format, "a, line 2, has a NUL at position 1", [&] { reader.next(line); });
  expect_error(ErrorCode::format, "a, line 3, has byte 0xC3 at position 0", [&] { reader.next(line); });
  expect_error(ErrorCode::format, "a, line 4, is longer than 1000 bytes", [&] { reader.next(line); });
  EXPECT_TRUE(reader.next(line));
  EXPECT_EQ(line, "end");
  EXPECT_EQ(reader.place(), (folder / "a").string() + ", line 5");
  EXPECT_FALSE(reader.next(line));
  EXPECT_FALSE(reader.next(line));
}

TEST(LineReader, of_a_name_with_a_nul_is_an_error) {
  expect_error(ErrorCode::value, "has a NUL", [] { LineReader(std::string("/dev/null\0x", 11)); });
}

}  // namespace
}  // namespace headway::text
