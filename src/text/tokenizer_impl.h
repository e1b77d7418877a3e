#pragma once
#include <sentencepiece_processor.h>

#include <string>
#include <string_view>

#include <headway/text/tokenizer.h>

#include "text/utf8.h"

namespace headway::inline v1::text {

/// SentencePiece writes U+2581 for a blank and passes over sentences with U+2585 in training: in text neither
/// means itself. In tokenizers that are trained here private characters stand for the two, and for themselves
/// after an escape.
std::string escaped(std::string_view text);
std::string unescaped(std::string_view text);

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string bytes;     // sealed
  bool escapes = false;  // see escaped()

  /// A text as SentencePiece is to see it, and as it gives it.
  std::string as_read(std::string_view text) const {
    return escapes ? escaped(plain_blanks(text)) : plain_blanks(text);
  }
  std::string as_written(const std::string& text) const { return escapes ? unescaped(text) : text; }
};

/// Says in the model that its text is escaped, in a field that SentencePiece skips.
std::string with_escape_mark(std::string model);
bool has_escape_mark(std::string_view model);

/// A model with the checksum at its end; Error(format) from unseal() when it is missing or does not fit.
std::string seal(std::string model);
std::string_view unseal(std::string_view bytes);

}  // namespace headway::inline v1::text
