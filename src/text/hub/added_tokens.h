#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "text/hub/models.h"
#include "text/hub/normalizers.h"
#include "text/hub/pre_tokenizers.h"

namespace headway::inline v1::text::hub {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
  bool special = false;
};

/// Tokens that are found in the text before the model sees it: section "added_tokens" of tokenizer.json.
class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer);

  /// Cuts what is not to be normalized out of the text, normalizes the rest, cuts out the others. Special
  /// tokens stay text where `special_in_text` is false.
  void apply(Cut& cut, const Normalizer* normalizer, bool special_in_text) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(std::int32_t id) const;
  const AddedToken* find(std::string_view content) const;
  bool is_special(std::int32_t id) const;

 private:
  struct Group {
    Trie trie;
    bool any = false;
    void add(std::string_view content, std::int32_t index);
  };
  void split(Cut& cut, const Group& group, bool special_in_text) const;

  std::vector<AddedToken> tokens_;
  std::map<std::int32_t, std::size_t> by_id_;
  std::map<std::string, std::size_t, std::less<>> by_content_;
  Group plain_, normalized_;
};

std::vector<AddedToken> read_added_tokens(const Json& json, const std::string& where);

}  // namespace headway::inline v1::text::hub
