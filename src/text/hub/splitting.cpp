#include "text/hub/splitting.h"

#include <algorithm>

namespace headway::inline v1::text::hub {

Aligned& Cut::detach(Piece& piece) {
  texts.emplace_back(texts[piece.text], piece.begin, piece.end);
  piece = {static_cast<std::uint32_t>(texts.size() - 1), 0, texts.back().size(), piece.id};
  return texts.back();
}

void Cut::clear() {
  texts.clear();
  pieces.clear();
}

void append_split(const Piece& piece, const std::vector<Match>& matches, SplitBehavior behavior,
                  std::vector<Piece>& out) {
  const std::size_t first = out.size();
  const auto add = [&](const Match& match) {
    out.push_back({piece.text, piece.begin + match.begin, piece.begin + match.end, -1});
  };
  bool after_match = false;
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Match& match : matches) {
        if (!match.is_match) add(match);
      }
      return;
    case SplitBehavior::isolated:
      for (const Match& match : matches) add(match);
      return;
    case SplitBehavior::contiguous:
      for (const Match& match : matches) {
        if (match.is_match == after_match && out.size() > first) {
          out.back().end = piece.begin + match.end;
        } else {
          add(match);
        }
        after_match = match.is_match;
      }
      return;
    case SplitBehavior::merged_with_previous:
      for (const Match& match : matches) {
        if (match.is_match && !after_match && out.size() > first) {
          out.back().end = piece.begin + match.end;
        } else {
          add(match);
        }
        after_match = match.is_match;
      }
      return;
    case SplitBehavior::merged_with_next:
      for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
        if (match->is_match && !after_match && out.size() > first) {
          out.back().begin = piece.begin + match->begin;
        } else {
          add(*match);
        }
        after_match = match->is_match;
      }
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
      return;
  }
}

}  // namespace headway::inline v1::text::hub
