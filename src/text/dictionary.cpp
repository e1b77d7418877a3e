#include <headway/core/error.h>
#include <headway/text/readers.h>

#include <fmt/format.h>

#include "text/lines.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

std::vector<std::string_view> cut(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + separator.size());
  }
}

// Removes {grammar}, [field] and (remark) tags; of alternatives between ';' the first stays.
std::string plain(std::string_view entry) {
  std::string out;
  int depth = 0;
  for (const char c : entry) {
    if (c == '{' || c == '[' || c == '(') ++depth;
    if (depth == 0) {
      if (c == ';') break;
      out.push_back(c);
    }
    if ((c == '}' || c == ']' || c == ')') && depth > 0) --depth;
  }
  std::string spaced = normalize_space(out);
  // "wie geht 's ?" would be left by a removed tag before a mark.
  for (std::size_t at; (at = spaced.find(" .")) != std::string::npos;) spaced.erase(at, 1);
  return spaced;
}

bool is_sentence(const std::string& text) {
  if (text.empty() || count_words(text) < 3) return false;
  const char last = text.back();
  std::size_t at = 0;
  const char32_t first = next_code_point(text, at);
  // A slash joins alternatives that cannot be told apart from words ("der/die").
  return (last == '.' || last == '!' || last == '?') && is_upper(first) &&
         text.find('/') == std::string::npos && !text.ends_with("..") && text.find("…") == std::string::npos;
}

}  // namespace

Pairs read_dictionary(const std::filesystem::path& file, bool english_first) {
  const auto lines = read_lines(file, "read dictionary", 1 << 20);
  Pairs pairs;
  bool any_entry = false;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].empty() || lines[i].front() == '#') continue;
    const auto sides = cut(lines[i], " :: ");
    if (sides.size() != 2) continue;
    any_entry = true;
    const auto german = cut(sides[0], "|");
    const auto english = cut(sides[1], "|");
    if (german.size() != english.size()) continue;
    for (std::size_t k = 0; k < german.size(); ++k) {
      std::string a = plain(german[k]);
      std::string b = plain(english[k]);
      if (!is_sentence(a) || !is_sentence(b)) continue;
      if (english_first) std::swap(a, b);
      pairs.push_back({std::move(a), std::move(b), fmt::format("line {}", i + 1)});
    }
  }
  if (!any_entry) {
    fail(ErrorCode::format, "read dictionary",
         fmt::format("{} has no line \"German :: English\"; want a Ding dictionary", file.string()));
  }
  return pairs;
}

}  // namespace headway::inline v1::text
