#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/hub/aligned.h"

namespace headway::inline v1::text::hub {

/// A regular expression in Oniguruma's dialect (Ruby's syntax, which `tokenizers` uses), run by ICU. The
/// pattern is rewritten where the two differ; a construct whose meaning differs beyond that is an
/// Error(unsupported) that names it.
class Regex {
 public:
  Regex(std::string_view pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;

  /// Every match from left to right, as byte ranges of `text`.
  void find(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// The same in ICU's dialect.
std::string icu_pattern(std::string_view oniguruma, const std::string& where);

}  // namespace headway::inline v1::text::hub
