#pragma once
#include <vector>

#include "text/hub/pre_tokenizers.h"

namespace headway::inline v1::text::hub {

struct Match {
  std::uint32_t begin;
  std::uint32_t end;
  bool is_match;
};

/// Appends the ranges that `matches`, which cover the whole of `piece`, leave of it.
void append_split(const Piece& piece, const std::vector<Match>& matches, SplitBehavior behavior,
                  std::vector<Piece>& out);

/// Replaces every piece that is no token by what cut_one(piece, out) appends; empty pieces fall away.
template <typename CutOne>
void cut_each(Cut& cut, CutOne&& cut_one) {
  std::vector<Piece> out = std::move(cut.scratch);
  out.clear();
  for (Piece& piece : cut.pieces) {
    if (piece.id >= 0) {
      out.push_back(piece);
    } else if (piece.begin < piece.end) {
      cut_one(piece, out);
    }
  }
  std::erase_if(out, [](const Piece& piece) { return piece.id < 0 && piece.begin >= piece.end; });
  cut.scratch = std::move(cut.pieces);
  cut.pieces = std::move(out);
}

/// Splits at the code points for which is(c), each a match.
template <typename Is>
void split_at(Cut& cut, SplitBehavior behavior, Is&& is) {
  std::vector<Match> matches;
  cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
    const std::string_view text = cut.view(piece);
    matches.clear();
    std::uint32_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const auto begin = static_cast<std::uint32_t>(at);
      if (!is(next_code_point(text, at))) continue;
      if (done < begin) matches.push_back({done, begin, false});
      done = static_cast<std::uint32_t>(at);
      matches.push_back({begin, done, true});
    }
    if (done < text.size()) matches.push_back({done, static_cast<std::uint32_t>(text.size()), false});
    append_split(piece, matches, behavior, out);
  });
}

}  // namespace headway::inline v1::text::hub
