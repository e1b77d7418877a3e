#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headway::inline v1::text::hub {

/// Bytes [begin, end) of the text that the caller gave.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// A code point of a changed text. `change` says what it stands for, as in Hugging Face's `tokenizers`:
/// 0 replaces the next old code point, -n replaces it and drops the n after it, above 0 is inserted.
struct Change {
  char32_t c = 0;
  std::int32_t change = 0;
};

/// A text that was changed step by step, with the span of the original that each of its bytes came from.
class Aligned {
 public:
  Aligned() = default;
  /// original[begin, end), not changed yet.
  Aligned(std::string_view original, Span at);
  /// A part of another one.
  Aligned(const Aligned& whole, std::uint32_t begin, std::uint32_t end);

  std::string_view text() const { return text_; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(text_.size()); }
  /// The span of the byte at `at`.
  Span span(std::uint32_t at) const;
  /// The span of a range of bytes: from its first byte's begin to its last byte's end.
  Span span(std::uint32_t begin, std::uint32_t end) const;

  /// `dropped_first` code points at the beginning go away before the first change.
  void transform(const std::vector<Change>& changes, std::size_t dropped_first);
  /// The new text, byte by byte from where the old text's bytes were: `from[i]` indexes the old text.
  void replace_bytes(std::string text, const std::vector<std::uint32_t>& from);
  void prepend(std::string_view text);
  /// Every match (ordered, disjoint ranges) becomes `content`.
  void replace(const std::vector<Span>& matches, std::string_view content);
  /// Keeps the code points for which keep(c), as map(c).
  template <typename Map>
  void filter_map(Map&& map);  // map(c) gives a code point, or kDrop

  static constexpr char32_t kDrop = 0xFFFFFFFF;

 private:
  void track();

  std::string text_;
  std::vector<Span> spans_;  // for each byte; empty while the text is the original
  std::uint32_t origin_ = 0;
  bool tracked_ = false;
};

/// Length in bytes of the sequence that `lead` begins in valid UTF-8.
inline std::uint32_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

bool is_ascii(std::string_view text);

}  // namespace headway::inline v1::text::hub

#include "text/utf8.h"

namespace headway::inline v1::text::hub {

template <typename Map>
void Aligned::filter_map(Map&& map) {
  std::string text;
  text.reserve(text_.size());
  std::vector<std::uint32_t> from;
  from.reserve(text_.size());
  bool same = true;
  for (std::size_t at = 0; at < text_.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text_, at);
    const char32_t mapped = map(c);
    same = same && mapped == c;
    if (mapped == kDrop) continue;
    append_utf8(text, mapped);
    from.resize(text.size(), static_cast<std::uint32_t>(begin));
  }
  if (!same) replace_bytes(std::move(text), from);
}

}  // namespace headway::inline v1::text::hub
