#include "text/sentences.h"

#include <algorithm>
#include <array>

#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// Folded, without the last full stop.
constexpr std::array<std::string_view, 15> kEverywhere{
    "e.g", "i.e", "etc", "vs", "no", "fig", "ca", "dr", "mr", "mrs", "inc", "co", "vol", "approx", "resp"};
constexpr std::array<std::string_view, 22> kGerman{
    "bzw", "z.b", "d.h", "usw", "ggf",  "evtl", "inkl", "exkl", "nr",     "abb",  "vgl",
    "sog", "u.a", "o.ä", "u.ä", "zzgl", "max",  "min",  "allg", "entspr", "engl", "bspw"};

bool is_opening(char32_t c) {
  return c == U'"' || c == U'\'' || c == U'(' || c == U'[' || c == U'„' || c == U'“' || c == U'‚' ||
         c == U'‘' || c == U'«' || c == U'»' || c == U'¿' || c == U'¡';
}
bool is_closing(char32_t c) {
  return c == U'"' || c == U'\'' || c == U')' || c == U']' || c == U'”' || c == U'“' || c == U'’' ||
         c == U'‘' || c == U'«' || c == U'»';
}
bool is_terminal(char32_t c) { return c == U'.' || c == U'!' || c == U'?' || c == U'…'; }

bool ends_no_sentence(std::u32string_view text, std::size_t stop, std::string_view language) {
  std::size_t begin = stop;
  while (begin > 0 && text[begin - 1] != U' ' && !is_opening(text[begin - 1])) --begin;
  const std::u32string_view word = text.substr(begin, stop - begin);
  if (word.empty()) return false;
  // "A." in a name, "1." in a list, "3." in a German date: cutting less is safer than cutting wrongly.
  if (word.size() == 1 && is_letter(word[0])) return true;
  if (language == "de" && std::all_of(word.begin(), word.end(), is_decimal_digit)) return true;
  const std::string folded = fold_case(to_utf8(word));
  if (std::find(kEverywhere.begin(), kEverywhere.end(), folded) != kEverywhere.end()) return true;
  return language == "de" && std::find(kGerman.begin(), kGerman.end(), folded) != kGerman.end();
}

}  // namespace

std::vector<std::string> split_sentences(std::string_view paragraph, std::string_view language) {
  const std::u32string text = to_utf32(paragraph);
  std::vector<std::string> sentences;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_terminal(text[i])) continue;
    std::size_t end = i + 1;
    while (end < text.size() && (is_terminal(text[end]) || is_closing(text[end]))) ++end;
    if (end + 1 >= text.size() || text[end] != U' ') continue;
    const char32_t next = text[end + 1];
    if (!is_upper(next) && !is_decimal_digit(next) && !is_opening(next)) continue;
    if (text[i] == U'.' && end == i + 1 && ends_no_sentence(text, i, language)) continue;
    sentences.push_back(to_utf8(std::u32string_view(text).substr(begin, end - begin)));
    begin = end + 1;
    i = end;
  }
  if (begin < text.size()) sentences.push_back(to_utf8(std::u32string_view(text).substr(begin)));
  return sentences;
}

}  // namespace headway::inline v1::text
