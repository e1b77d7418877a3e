#include <headway/core/quote.h>

#include <gtest/gtest.h>

#include <headway/core/error.h>

namespace headway {
namespace {

TEST(Quote, cuts_between_code_points) {
  const std::string text = "grün 😀";
  for (std::size_t most = 0; most <= text.size(); ++most) {
    const std::string cut = printable(text, most);
    if (most == text.size()) {
      EXPECT_EQ(cut, text);
    } else {
      ASSERT_TRUE(cut.ends_with("…"));
      EXPECT_TRUE(text.starts_with(cut.substr(0, cut.size() - 3)));
      EXPECT_EQ(printable(cut, 100), cut);  // well-formed
    }
  }
  EXPECT_EQ(quoted(text, 3), "\"gr…\"");
}

TEST(Quote, replaces_what_is_not_utf8_byte_by_byte) {
  EXPECT_EQ(printable("a\xFF\xC3"), "a\uFFFD\uFFFD");
  EXPECT_EQ(printable("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(printable("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(printable("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  EXPECT_EQ(printable("\xF0\x9F\x98"), "\uFFFD\uFFFD\uFFFD");            // ends too early
  EXPECT_EQ(printable("\U0010FFFF\uFFFD"), "\U0010FFFF\uFFFD");
}

TEST(Quote, spells_what_would_move_the_cursor_or_turn_the_line) {
  EXPECT_EQ(printable(std::string_view("a\0\n\t\x1B[2J\x7F", 9)), "a\\x00\\n\\t\\x1B[2J\\x7F");
  EXPECT_EQ(printable("\u0085\u2028\u202E"), "\\u0085\\u2028\\u202E");
}

TEST(Error, message_is_whole_and_utf8_whatever_it_quotes) {
  const Error error(ErrorCode::value, "read", std::string_view("a\0b \xFF c", 7));
  EXPECT_STREQ(error.what(), "read: a\\x00b \uFFFD c");
}

}  // namespace
}  // namespace headway
