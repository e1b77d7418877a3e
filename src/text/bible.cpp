#include <fmt/format.h>

#include <map>

#include <headway/core/error.h>
#include <headway/text/readers.h>

#include "text/html.h"
#include "text/lines.h"

namespace headway::inline v1::text {
namespace {

struct Verse {
  std::string key;  // "Genesis 1:1"
  std::string text;
};

// SWORD's import format: "$$$" and the key on a line, then the verse's markup on the lines up to the next.
std::vector<Verse> read_verses(const std::filesystem::path& file) {
  std::vector<Verse> verses;
  for (const std::string& line : read_lines(file, "read Bible", 1 << 20)) {
    if (line.starts_with("$$$")) {
      verses.push_back({normalize_space(std::string_view(line).substr(3)), {}});
    } else if (!verses.empty()) {
      verses.back().text += line;
      verses.back().text += ' ';
    } else if (!normalize_space(line).empty()) {
      fail(ErrorCode::format, "read Bible",
           fmt::format("{} begins with text; want a line \"$$$Book chapter:verse\", as mod2imp prints it",
                       file.string()));
    }
  }
  return verses;
}

// Chapter and book introductions have the verse number 0.
bool is_verse(const std::string& key) {
  const std::size_t colon = key.rfind(':');
  return colon != std::string::npos && colon + 1 < key.size() && key.substr(colon + 1) != "0";
}

}  // namespace

Pairs read_bibles(const std::filesystem::path& source, const std::filesystem::path& target) {
  std::map<std::string, std::string> translations;
  for (Verse& verse : read_verses(target)) translations.emplace(std::move(verse.key), std::move(verse.text));
  Pairs pairs;
  for (const Verse& verse : read_verses(source)) {
    const auto found = translations.find(verse.key);
    if (found == translations.end() || !is_verse(verse.key)) continue;
    std::string a = markup_text(verse.text);
    std::string b = markup_text(found->second);
    if (a.empty() || b.empty()) continue;
    pairs.push_back({std::move(a), std::move(b), verse.key.substr(0, verse.key.rfind(':'))});
  }
  if (pairs.empty()) {
    fail(ErrorCode::format, "read Bible",
         fmt::format("{} and {} have no verse in common; want two files that mod2imp printed",
                     source.string(), target.string()));
  }
  return pairs;
}

}  // namespace headway::inline v1::text
