#pragma once

namespace headway::inline v1::text::hub {

// Questions on code points as Hugging Face's `tokenizers` answers them. Its BERT rules stand on the tables of
// Unicode 8, its accents and normal forms on those of Unicode 9; everything else follows the newest Unicode.

/// White_Space.
bool is_white(char32_t c);
/// Dropped by BertNormalizer's clean_text: NUL, U+FFFD, and controls other than tab, line feed, return.
bool is_bert_control(char32_t c);
/// ASCII punctuation, and general category P.
bool is_bert_punctuation(char32_t c);
/// General category Mn.
bool is_bert_accent(char32_t c);
/// The blocks of CJK ideographs that BERT sets apart by blanks.
bool is_bert_ideograph(char32_t c);
/// General category M, as normalizer StripAccents sees it.
bool is_combining_mark(char32_t c);
/// General category N.
bool is_numeric(char32_t c);
/// \w of Rust's regular expressions: letters, marks, digits, connectors, joiners.
bool is_word(char32_t c);
/// Whether the code point was in Unicode `major` (its age).
bool assigned_in(char32_t c, int major);
/// Lower case of one code point; U+0130 gives two, so `second` may be set (else 0).
char32_t lower_case(char32_t c, char32_t& second);

}  // namespace headway::inline v1::text::hub
