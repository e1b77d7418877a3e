#include "text/hub/characters.h"

#include <unicode/uchar.h>

#include <cstdint>

namespace headway::inline v1::text::hub {
namespace {

std::uint32_t category(char32_t c) { return U_MASK(u_charType(static_cast<UChar32>(c))); }

bool in(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

}  // namespace

bool assigned_in(char32_t c, int major) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] < major || (age[0] == major && age[1] == 0);
}

bool is_white(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool is_bert_control(char32_t c) {
  if (c < 0x80) return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
  if (c == 0xFFFD) return true;
  return (category(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0 && assigned_in(c, 8);
}

bool is_bert_punctuation(char32_t c) {
  if (c < 0x80) return in(c, 0x21, 0x2F) || in(c, 0x3A, 0x40) || in(c, 0x5B, 0x60) || in(c, 0x7B, 0x7E);
  if (c == 0x166D || c == 0x111C9) return true;  // punctuation in Unicode 8, no longer today
  return (category(c) & U_GC_P_MASK) != 0 && assigned_in(c, 8);
}

bool is_bert_accent(char32_t c) {
  if (c < 0x300) return false;
  if (c == 0x1734) return true;  // a spacing mark since Unicode 14
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;  // since Unicode 9 and 11
  return (category(c) & U_GC_MN_MASK) != 0 && assigned_in(c, 8);
}

bool is_bert_ideograph(char32_t c) {
  if (c < 0x3400) return false;
  return in(c, 0x4E00, 0x9FFF) || in(c, 0x3400, 0x4DBF) || in(c, 0x20000, 0x2A6DF) ||
         in(c, 0x2A700, 0x2B73F) || in(c, 0x2B740, 0x2B81F) || in(c, 0x2B920, 0x2CEAF) ||
         in(c, 0xF900, 0xFAFF) || in(c, 0x2F800, 0x2FA1F);
}

bool is_combining_mark(char32_t c) {
  if (c < 0x300) return false;
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // marks in Unicode 9, letters today
  return (category(c) & U_GC_M_MASK) != 0 && assigned_in(c, 9) && c != 0x111C9;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return in(c, '0', '9');
  return (category(c) & U_GC_N_MASK) != 0;
}

bool is_word(char32_t c) {
  if (c < 0x80) return in(c, '0', '9') || in(c, 'A', 'Z') || in(c, 'a', 'z') || c == '_';
  const auto code = static_cast<UChar32>(c);
  return (category(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(code, UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(code, UCHAR_JOIN_CONTROL) != 0;
}

char32_t lower_case(char32_t c, char32_t& second) {
  second = 0;
  if (c < 0x80) return in(c, 'A', 'Z') ? c + 32 : c;
  if (c == 0x130) {
    second = 0x307;
    return 'i';
  }
  return static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
}

}  // namespace headway::inline v1::text::hub
