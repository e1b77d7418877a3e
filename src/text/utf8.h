#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace headway::inline v1::text {

/// Byte offset of the first byte that begins no valid UTF-8 sequence (overlong forms and surrogates are
/// invalid).
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Error(format) naming the byte when `text` is not valid UTF-8. `where` says which text: "line 3 of a.tsv".
void require_utf8(std::string_view text, std::string_view operation, std::string_view where);

/// The next code point at `at`, which moves on; U+FFFD for an invalid byte.
char32_t next_code_point(std::string_view text, std::size_t& at);
void append_utf8(std::string& text, char32_t code_point);
std::u32string to_utf32(std::string_view text);
std::string to_utf8(std::u32string_view text);

/// Simple questions on code points, by Unicode's general categories.
bool is_letter(char32_t c);
bool is_decimal_digit(char32_t c);
bool is_number(char32_t c);  // N*
bool is_mark(char32_t c);
bool is_punctuation(char32_t c);  // P*
bool is_symbol(char32_t c);       // S*
bool is_space(char32_t c);        // White_Space
bool is_upper(char32_t c);        // Lu or Lt
bool is_ignorable(char32_t c);    // soft hyphen, zero-width characters, byte order mark
bool is_invisible(char32_t c);    // Cc, Cf, unassigned, and what stands for a character that was lost

/// Every white-space character as one blank; all else stays.
std::string plain_blanks(std::string_view text);
std::string lower(std::string_view text);
std::string fold_case(std::string_view text);
std::size_t count_code_points(std::string_view text);
std::size_t count_words(std::string_view text);  // runs of characters other than ASCII blanks

}  // namespace headway::inline v1::text
