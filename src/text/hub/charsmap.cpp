#include <fmt/format.h>
#include <unicode/brkiter.h>
#include <unicode/unistr.h>

#include <array>
#include <cstring>
#include <memory>

#include <headway/core/error.h>

#include "text/hub/normalizers.h"

namespace headway::inline v1::text::hub {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t kMaxGrapheme = 6;  // longer graphemes are rewritten one code point at a time

// The ends of the grapheme clusters of `text`, in bytes.
void find_graphemes(std::string_view text, std::vector<std::uint32_t>& ends) {
  thread_local std::unique_ptr<icu::BreakIterator> breaks = [] {
    UErrorCode code = U_ZERO_ERROR;
    std::unique_ptr<icu::BreakIterator> made(
        icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), code));
    if (U_FAILURE(code)) fail(ErrorCode::internal, "HubTokenizer", u_errorName(code));
    return made;
  }();
  const auto units =
      icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())));
  breaks->setText(units);
  std::int32_t unit = 0;
  std::uint32_t byte = 0;
  breaks->first();
  for (std::int32_t end = breaks->next(); end != icu::BreakIterator::DONE; end = breaks->next()) {
    while (unit < end) {
      const std::uint32_t length = utf8_length(text[byte]);
      byte += length;
      unit += length == 4 ? 2 : 1;
    }
    ends.push_back(byte);
  }
}

// In ASCII only a return before its line feed makes a longer cluster.
void find_ascii_graphemes(std::string_view text, std::vector<std::uint32_t>& ends) {
  for (std::uint32_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
    ends.push_back(i + 1);
  }
}

std::int32_t count(std::string_view text) { return static_cast<std::int32_t>(count_code_points(text)); }

}  // namespace

std::string decode_base64(std::string_view text, const std::string& where) {
  static constexpr auto kValues = [] {
    std::array<std::int8_t, 256> table{};
    table.fill(-1);
    for (std::size_t i = 0; i < kDigits.size(); ++i)
      table[static_cast<unsigned char>(kDigits[i])] = static_cast<std::int8_t>(i);
    return table;
  }();
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const int value = kValues[static_cast<unsigned char>(c)];
    if (value < 0) fail_format(where, fmt::format("has '{}' among base64 digits", c));
    bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xFFFFFF;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out.push_back(static_cast<char>(bits >> held));
    }
  }
  return out;
}

std::string encode_base64(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out.push_back(i + k > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * k) & 63]);
    }
  }
  return out;
}

Charsmap::Charsmap(std::string bytes, const std::string& where) {
  if (bytes.empty()) return;
  std::uint32_t size = 0;
  if (bytes.size() >= 4) {
    for (int i = 3; i >= 0; --i)
      size = size << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  }
  if (bytes.size() < 4 || size > bytes.size() - 4 || size % 4 != 0) {
    fail_format(where, fmt::format("{} bytes hold no trie of {} bytes", bytes.size(), size));
  }
  units_.resize(size / 4);
  for (std::size_t i = 0; i < units_.size(); ++i) {
    for (std::size_t k = 4; k > 0; --k) {
      units_[i] = units_[i] << 8 | static_cast<unsigned char>(bytes[4 + i * 4 + k - 1]);
    }
  }
  strings_ = bytes.substr(4 + size);
  if (const auto bad = find_invalid_utf8(strings_)) {
    fail_format(where, fmt::format("its strings are no UTF-8 at byte {}", *bad));
  }
}

// darts-clone's unit: bits 0-7 the label, 8 has a leaf, 9 and 10-30 the offset; bit 31 marks a value. As in
// `tokenizers`, the shortest key that begins `part` decides for all of it.
bool Charsmap::rewritten(std::string_view part, std::string_view& to) const {
  const auto offset = [](std::uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); };
  if (units_.empty()) return false;
  std::size_t node = offset(units_[0]);
  for (const char c : part) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return false;
    node ^= byte;
    if (node >= units_.size() || (units_[node] & ((1U << 31) | 0xFF)) != byte) return false;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if ((unit >> 8 & 1) == 0) continue;
    if (node >= units_.size()) return false;
    const std::size_t at = units_[node] & 0x7FFFFFFF;
    if (at > strings_.size() ||
        (at < strings_.size() && (static_cast<unsigned char>(strings_[at]) & 0xC0) == 0x80))
      return false;
    to = std::string_view(strings_).substr(at);
    to = to.substr(0, to.find('\0'));
    return true;
  }
  return false;
}

void Charsmap::apply(Aligned& text) const {
  if (units_.empty()) return;
  const std::string_view all = text.text();
  std::vector<std::uint32_t> ends;
  ends.reserve(all.size());
  is_ascii(all) ? find_ascii_graphemes(all, ends) : find_graphemes(all, ends);
  std::vector<Change> changes;
  changes.reserve(all.size());
  bool any = false;
  // Surplus code points count as inserted; missing ones fall away behind the last, which may be that of the
  // part before.
  const auto rewrite = [&](std::string_view part) {
    std::string_view to;
    if (!rewritten(part, to)) return false;
    any = true;
    const std::int32_t before = count(part);
    std::int32_t written = 0;
    for (std::size_t at = 0; at < to.size(); ++written) {
      changes.push_back({next_code_point(to, at), written < before ? 0 : 1});
    }
    if (written < before && !changes.empty()) changes.back().change -= before - written;
    return true;
  };
  std::uint32_t begin = 0;
  for (const std::uint32_t end : ends) {
    const std::string_view grapheme = all.substr(begin, end - begin);
    begin = end;
    if (grapheme.size() < kMaxGrapheme && rewrite(grapheme)) continue;
    for (std::size_t at = 0; at < grapheme.size();) {
      const std::size_t from = at;
      const char32_t c = next_code_point(grapheme, at);
      if (!rewrite(grapheme.substr(from, at - from))) changes.push_back({c, 0});
    }
  }
  if (any) text.transform(changes, 0);
}

}  // namespace headway::inline v1::text::hub
