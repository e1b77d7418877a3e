#pragma once
#include <memory>
#include <string>
#include <vector>

#include "text/hub/fields.h"

namespace headway::inline v1::text::hub {

/// Turns tokens back to text: section "decoder" of tokenizer.json. Steps pass on lists of strings, which are
/// joined in the end.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

std::shared_ptr<const Decoder> read_decoder(const Json& json, const std::string& where);

/// U+FFFD for each maximal part of an ill-formed sequence (Unicode 15, section 3.9).
std::string lossy_utf8(std::string_view bytes);

/// The byte of "<0x0A>"; -1 for any other token.
int byte_of_token(std::string_view token);

}  // namespace headway::inline v1::text::hub
