#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "text/hub/aligned.h"
#include "text/hub/fields.h"

namespace headway::inline v1::text::hub {

/// A range of one of the texts of a Cut, or a token that was found in it whole.
struct Piece {
  std::uint32_t text = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::int32_t id = -1;  // of an added token; -1: for the model to cut
};

/// A text cut in pieces. Texts stay where they are while pieces are cut further.
struct Cut {
  std::deque<Aligned> texts;
  std::vector<Piece> pieces;
  std::vector<Piece> scratch;

  std::string_view view(const Piece& piece) const {
    return texts[piece.text].text().substr(piece.begin, piece.end - piece.begin);
  }
  Span span(const Piece& piece) const { return texts[piece.text].span(piece.begin, piece.end); }
  /// The piece as a text of its own, so that it can be changed.
  Aligned& detach(Piece& piece);
  void clear();
};

/// What becomes of a match where a text is split at matches.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// A step that cuts texts: section "pre_tokenizer" of tokenizer.json.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Cut& cut) const = 0;
  /// Whether its last step spells bytes by letters. For a model that takes the bytes themselves,
  /// skip_letters() leaves that step out.
  virtual bool ends_in_letters() const { return false; }
  virtual void skip_letters() {}
};

std::shared_ptr<PreTokenizer> read_pre_tokenizer(const Json& json, const std::string& where);

}  // namespace headway::inline v1::text::hub
