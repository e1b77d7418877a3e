#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <headway/text/hub_tokenizer.h>

#include "text/hub/fields.h"

namespace headway::inline v1::text::hub {

/// An Encoding on its way to the caller, with what processors look at.
struct Draft {
  Encoding encoding;
  std::vector<std::string_view> tokens;  // the text of each token
  std::string_view text;                 // the original

  std::size_t size() const { return encoding.ids.size(); }
  void append(const Draft& other);
  void append_special(std::int32_t id, std::string_view token, std::int32_t type);
  void set_type(std::int32_t type);
  void keep(std::size_t begin, std::size_t end);  // tokens [begin, end) alone
};

/// Adds what stands around texts: section "post_processor" of tokenizer.json.
class Processor {
 public:
  virtual ~Processor() = default;
  /// Tokens it adds to one text, or to a pair.
  virtual std::size_t added(bool pair) const = 0;
  /// One or two drafts in; any number out, which are joined in the end.
  virtual void apply(std::vector<Draft>& drafts, bool special) const = 0;
};

std::shared_ptr<const Processor> read_processor(const Json& json, const std::string& where);

}  // namespace headway::inline v1::text::hub
