#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace headway::inline v1::text {

/// Cuts a paragraph in sentences: after . ! ? (with closing quotes and brackets) before a blank and an
/// upper-case letter, digit, or opening quote or bracket, unless the full stop ends an abbreviation, an
/// initial or a number.
std::vector<std::string> split_sentences(std::string_view paragraph, std::string_view language);

}  // namespace headway::inline v1::text
