#pragma once
#include <string>
#include <string_view>

namespace headway::inline v1::inspect {

/// Text as it may stand in HTML and XML, between tags or in a quoted attribute.
inline std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace headway::inline v1::inspect
