#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/hub/fields.h"
#include "text/hub/regex.h"

namespace headway::inline v1::text::hub {

/// {"String": …} or {"Regex": …} of tokenizer.json.
class Pattern {
 public:
  Pattern(const Json& json, const std::string& where);
  void find(std::string_view text, std::vector<Span>& matches) const;
  /// Plain text to be found as it is; nullopt for an expression.
  const std::optional<std::string>& plain() const { return plain_; }

 private:
  std::optional<std::string> plain_;
  std::optional<Regex> regex_;
};

}  // namespace headway::inline v1::text::hub
