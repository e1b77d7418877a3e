#include "text/hub/aligned.h"

#include <utility>

namespace headway::inline v1::text::hub {

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

Aligned::Aligned(std::string_view original, Span at)
    : text_(original.substr(at.begin, at.end - at.begin)), origin_(at.begin) {}

Aligned::Aligned(const Aligned& whole, std::uint32_t begin, std::uint32_t end)
    : text_(whole.text_.substr(begin, end - begin)),
      origin_(begin < end ? whole.span(begin).begin : whole.origin_),
      tracked_(whole.tracked_) {
  if (!tracked_) return;
  spans_.assign(whole.spans_.begin() + begin, whole.spans_.begin() + end);
}

Span Aligned::span(std::uint32_t at) const {
  if (tracked_) return spans_[at];
  while (at > 0 && (static_cast<unsigned char>(text_[at]) & 0xC0) == 0x80) --at;
  return {origin_ + at, origin_ + at + utf8_length(text_[at])};
}

Span Aligned::span(std::uint32_t begin, std::uint32_t end) const {
  if (begin >= end) return {origin_ + begin, origin_ + begin};
  return {span(begin).begin, span(end - 1).end};
}

void Aligned::track() {
  if (tracked_) return;
  spans_.resize(text_.size());
  for (std::uint32_t at = 0; at < text_.size();) {
    const std::uint32_t length = utf8_length(text_[at]);
    for (std::uint32_t i = 0; i < length; ++i) spans_[at + i] = {origin_ + at, origin_ + at + length};
    at += length;
  }
  tracked_ = true;
}

void Aligned::transform(const std::vector<Change>& changes, std::size_t dropped_first) {
  track();
  std::string text;
  std::vector<Span> spans;
  text.reserve(text_.size());
  spans.reserve(text_.size());
  std::uint32_t at = 0;
  const auto skip = [&](std::size_t count) {
    for (; count > 0 && at < text_.size(); --count) at += utf8_length(text_[at]);
  };
  skip(dropped_first);
  for (const Change& next : changes) {
    Span span{origin_, origin_};
    if (next.change > 0 || at >= text_.size()) {
      if (at > 0) span = spans_[at - 1];
    } else {
      span = spans_[at];
    }
    if (next.change <= 0) skip(1 + static_cast<std::size_t>(-next.change));
    append_utf8(text, next.c);
    spans.resize(text.size(), span);
  }
  text_ = std::move(text);
  spans_ = std::move(spans);
}

void Aligned::replace_bytes(std::string text, const std::vector<std::uint32_t>& from) {
  std::vector<Span> spans(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) spans[i] = span(from[i]);
  text_ = std::move(text);
  spans_ = std::move(spans);
  tracked_ = true;
}

void Aligned::prepend(std::string_view text) {
  if (text_.empty()) return;
  track();
  spans_.insert(spans_.begin(), text.size(), spans_.front());
  text_.insert(0, text);
}

void Aligned::replace(const std::vector<Span>& matches, std::string_view content) {
  if (matches.empty()) return;
  track();
  std::string text;
  std::vector<Span> spans;
  text.reserve(text_.size());
  spans.reserve(text_.size());
  std::uint32_t done = 0;
  const auto keep = [&](std::uint32_t end) {
    text.append(text_, done, end - done);
    spans.insert(spans.end(), spans_.begin() + done, spans_.begin() + end);
    done = end;
  };
  for (const Span match : matches) {
    keep(match.begin);
    text.append(content);
    spans.resize(text.size(), match.end > 0 ? spans_[match.end - 1] : Span{origin_, origin_});
    done = match.end;
  }
  keep(size());
  text_ = std::move(text);
  spans_ = std::move(spans);
}

}  // namespace headway::inline v1::text::hub
