#include "text/utf8.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <limits>

#include <headway/core/error.h>

namespace headway::inline v1::text {
namespace {

std::int32_t icu_length(std::string_view text) {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max() / 4)) {
    fail(ErrorCode::value, "text",
         fmt::format("text is {} bytes; want at most 512 MiB at once", text.size()));
  }
  return static_cast<std::int32_t>(text.size());
}

void require_success(UErrorCode code) {
  if (U_FAILURE(code))
    fail(ErrorCode::internal, "text", fmt::format("ICU says {}; want success", u_errorName(code)));
}

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  std::size_t at = 0;
  while (at < text.size()) {
    if (bytes[at] < 0x80) {
      ++at;
      continue;
    }
    const std::size_t begin = at;
    std::size_t next = at;
    UChar32 c = 0;
    U8_NEXT(bytes, next, text.size(), c);
    if (c < 0) return begin;
    at = next;
  }
  return std::nullopt;
}

void require_utf8(std::string_view text, std::string_view operation, std::string_view where) {
  if (const auto bad = find_invalid_utf8(text)) {
    fail(ErrorCode::format, operation,
         fmt::format("{} has byte 0x{:02X} at position {}, which is not valid UTF-8; want UTF-8 text", where,
                     static_cast<unsigned>(static_cast<unsigned char>(text[*bad])), *bad));
  }
}

char32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  UChar32 c = 0;
  U8_NEXT_OR_FFFD(bytes, at, text.size(), c);
  return static_cast<char32_t>(c);
}

void append_utf8(std::string& text, char32_t code_point) {
  std::uint8_t bytes[U8_MAX_LENGTH];
  std::int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, static_cast<UChar32>(code_point));
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

std::u32string to_utf32(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) out.push_back(next_code_point(text, at));
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_letter(char32_t c) { return (U_MASK(u_charType(static_cast<UChar32>(c))) & U_GC_L_MASK) != 0; }
bool is_decimal_digit(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER; }
bool is_number(char32_t c) { return (U_MASK(u_charType(static_cast<UChar32>(c))) & U_GC_N_MASK) != 0; }
bool is_mark(char32_t c) { return (U_MASK(u_charType(static_cast<UChar32>(c))) & U_GC_M_MASK) != 0; }
bool is_punctuation(char32_t c) { return (U_MASK(u_charType(static_cast<UChar32>(c))) & U_GC_P_MASK) != 0; }
bool is_symbol(char32_t c) { return (U_MASK(u_charType(static_cast<UChar32>(c))) & U_GC_S_MASK) != 0; }
bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }
bool is_upper(char32_t c) {
  return (U_MASK(u_charType(static_cast<UChar32>(c))) & (U_GC_LU_MASK | U_GC_LT_MASK)) != 0;
}
bool is_ignorable(char32_t c) {
  return c == 0x00AD || c == 0x200B || c == 0x200C || c == 0x200D || c == 0x200E || c == 0x200F ||
         c == 0x2060 || c == 0xFEFF;
}

bool is_invisible(char32_t c) {
  constexpr auto kMask = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CN_MASK;
  return (U_MASK(u_charType(static_cast<UChar32>(c))) & kMask) != 0 || c == 0xFFFD;
}

std::string plain_blanks(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (is_space(next_code_point(text, at))) {
      out.push_back(' ');
    } else {
      out.append(text.substr(begin, at - begin));
    }
  }
  return out;
}

std::string lower(std::string_view text) {
  if (is_ascii(text)) return ascii_lower(text);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode code = U_ZERO_ERROR;
  icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(text.data(), icu_length(text)), sink, nullptr, code);
  require_success(code);
  return out;
}

std::string fold_case(std::string_view text) {
  if (is_ascii(text)) return ascii_lower(text);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode code = U_ZERO_ERROR;
  icu::CaseMap::utf8Fold(0, icu::StringPiece(text.data(), icu_length(text)), sink, nullptr, code);
  require_success(code);
  return out;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

std::size_t count_words(std::string_view text) {
  std::size_t count = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool blank = c == ' ';
    count += !blank && !in_word;
    in_word = !blank;
  }
  return count;
}

}  // namespace headway::inline v1::text
