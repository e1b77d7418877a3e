#include <array>

#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// Private characters of plane 16, which hardly any text has: one for each of the two that SentencePiece takes
// for its own, so that each stays one character, and one that says "the next stands for itself".
constexpr char32_t kEscape = 0x10FFF2;
struct Stand {
  char32_t character, stands_as;
};
constexpr std::array<Stand, 2> kStands{{{0x2581, 0x10FFF0}, {0x2585, 0x10FFF1}}};

// As in tokenizer.cpp: a field of its own, number 1001, a varint: 1001·8 + 0, then the version of the escape.
constexpr std::string_view kEscapeMark("\xC8\x3E\x01", 3);

bool is_private(char32_t c) { return c == kEscape || c == kStands[0].stands_as || c == kStands[1].stands_as; }

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (is_private(c)) append_utf8(out, kEscape);
    bool stood = false;
    for (const Stand& stand : kStands) {
      if (c != stand.character) continue;
      append_utf8(out, stand.stands_as);
      stood = true;
    }
    if (!stood) out += text.substr(begin, at - begin);
  }
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool itself = false;
  for (std::size_t at = 0; at < text.size();) {
    char32_t c = next_code_point(text, at);
    if (c == kEscape && !itself) {
      itself = true;
      continue;
    }
    for (const Stand& stand : kStands) {
      if (c == stand.stands_as && !itself) c = stand.character;
    }
    itself = false;
    append_utf8(out, c);
  }
  return out;
}

std::string with_escape_mark(std::string model) { return std::move(model) + std::string(kEscapeMark); }
bool has_escape_mark(std::string_view model) { return model.ends_with(kEscapeMark); }

}  // namespace headway::inline v1::text
