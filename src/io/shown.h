#pragma once
#include <string>
#include <string_view>

namespace headway::inline v1::io {

/// What a file says, for a message: long texts are cut, and what is no printable ASCII is shown as '?'.
inline std::string shown(std::string_view text) {
  std::string out(text.substr(0, 80));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

}  // namespace headway::inline v1::io
