#include "text/hub/pattern.h"

namespace headway::inline v1::text::hub {

Pattern::Pattern(const Json& json, const std::string& where) {
  Fields fields(json, where);
  if (fields.has("Regex")) {
    regex_.emplace(fields.string("Regex"), where);
  } else {
    plain_ = fields.string("String");
  }
  fields.done();
}

void Pattern::find(std::string_view text, std::vector<Span>& matches) const {
  if (regex_) {
    regex_->find(text, matches);
    return;
  }
  if (plain_->empty()) return;
  for (std::size_t at = text.find(*plain_); at != std::string_view::npos;
       at = text.find(*plain_, at + plain_->size())) {
    matches.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at + plain_->size())});
  }
}

}  // namespace headway::inline v1::text::hub
