#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// `text` as a message may hold it, in well-formed UTF-8 whatever its bytes are: at most `most` of them, cut
/// between code points and ended by "…" where more follow. A byte that belongs to no code point becomes
/// U+FFFD; what would move the cursor, end the line or turn its direction is spelled: \n, \t, \x1B, \u2028.
HEADWAY_API std::string printable(std::string_view text, std::size_t most = 80);

/// The same between quotation marks: how a message quotes what it was given.
HEADWAY_API std::string quoted(std::string_view text, std::size_t most = 80);
// By their own types, or std::quoted, which is found by argument, would fit better.
inline std::string quoted(const std::string& text, std::size_t most = 80) {
  return quoted(std::string_view(text), most);
}
inline std::string quoted(const char* text, std::size_t most = 80) {
  return quoted(std::string_view(text), most);
}

}  // namespace headway::inline v1
