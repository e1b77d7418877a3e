#include <headway/core/quote.h>

#include <fmt/format.h>

namespace headway::inline v1 {
namespace {

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;  // 0: these bytes begin none
};

// The first code point of `text` (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF).
CodePoint first_of(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const std::size_t size = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < size) return {};
  char32_t value = byte(0) & (0xFFu >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[size] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return {};
  return {value, size};
}

// Controls, line and paragraph separators, and the marks that turn the direction of what follows.
bool is_spelled(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

std::string spelled(char32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  return c < 0x80 ? fmt::format("\\x{:02X}", static_cast<unsigned>(c))
                  : fmt::format("\\u{:04X}", static_cast<unsigned>(c));
}

}  // namespace

std::string printable(std::string_view text, std::size_t most) {
  std::string out;
  std::size_t taken = 0;
  while (taken < text.size()) {
    const CodePoint c = first_of(text.substr(taken));
    const std::size_t bytes = c.bytes == 0 ? 1 : c.bytes;
    if (taken + bytes > most) return out + "…";
    if (c.bytes == 0)
      out += "\uFFFD";
    else if (is_spelled(c.value))
      out += spelled(c.value);
    else
      out += text.substr(taken, bytes);
    taken += bytes;
  }
  return out;
}

std::string quoted(std::string_view text, std::size_t most) { return '"' + printable(text, most) + '"'; }

}  // namespace headway::inline v1
