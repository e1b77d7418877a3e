#include "text/hub/models.h"

#include <fmt/format.h>

#include <functional>
#include <utility>

#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

std::size_t power_of_two(std::size_t least) {
  std::size_t size = 16;
  while (size < least) size *= 2;
  return size;
}

}  // namespace

std::string byte_token(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

TokenIndex::TokenIndex(const Json& vocabulary, const std::string& where) {
  if (!vocabulary.is_object()) fail_format(where, "want an object of tokens and their ids");
  const auto most = static_cast<std::int64_t>(vocabulary.size()) * 4 + 65536;
  std::int64_t largest = -1;
  for (const auto& [token, id] : vocabulary.items()) {
    if (const auto bad = find_invalid_utf8(token))
      fail_format(where, fmt::format("token with invalid UTF-8 at byte {}", *bad));
    largest = std::max(largest, integer_of(id, where + "." + token, 0, most));
  }
  tokens_.resize(static_cast<std::size_t>(largest + 1));
  present_.resize(tokens_.size());
  for (const auto& [token, id] : vocabulary.items()) {
    const auto at = id.get<std::size_t>();
    if (present_[at])
      fail_format(where, fmt::format("tokens '{}' and '{}' have the same id {}", tokens_[at], token, at));
    tokens_[at] = token;
    present_[at] = true;
  }
  build();
}

TokenIndex::TokenIndex(std::vector<std::string> tokens)
    : tokens_(std::move(tokens)), present_(tokens_.size(), true) {
  build();
}

void TokenIndex::build() {
  slots_.assign(power_of_two(tokens_.size() * 2 + 1), -1);
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (!present_[id]) continue;
    ++count_;
    std::size_t at = std::hash<std::string_view>{}(tokens_[id]) & (slots_.size() - 1);
    // Of equal tokens the last one counts, as in a map that is filled in order.
    while (slots_[at] >= 0 && tokens_[static_cast<std::size_t>(slots_[at])] != tokens_[id])
      at = (at + 1) & (slots_.size() - 1);
    slots_[at] = static_cast<std::int32_t>(id);
  }
}

std::int32_t TokenIndex::find(std::string_view token) const {
  if (slots_.empty()) return -1;
  std::size_t at = std::hash<std::string_view>{}(token) & (slots_.size() - 1);
  while (slots_[at] >= 0) {
    if (tokens_[static_cast<std::size_t>(slots_[at])] == token) return slots_[at];
    at = (at + 1) & (slots_.size() - 1);
  }
  return -1;
}

const std::string* TokenIndex::token(std::int64_t id) const {
  if (id < 0 || id >= size() || !present_[static_cast<std::size_t>(id)]) return nullptr;
  return &tokens_[static_cast<std::size_t>(id)];
}

void Trie::insert(std::uint64_t key, std::int32_t node) {
  if (slots_.size() < 2 * (filled_ + 1)) {
    std::vector<Slot> old = std::move(slots_);
    slots_.assign(power_of_two(4 * (filled_ + 1)), {});
    filled_ = 0;
    for (const Slot& slot : old) {
      if (slot.node >= 0) insert(slot.key, slot.node);
    }
  }
  std::size_t at = slot_of(key);
  while (slots_[at].node >= 0) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {key, node};
  ++filled_;
}

void Trie::add(std::string_view key, std::int32_t value) {
  std::int32_t node = 0;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    std::int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(values_.size());
      values_.push_back(-1);
      if (node == 0) {
        roots_[byte] = next;
      } else {
        insert(static_cast<std::uint64_t>(node) << 8 | byte, next);
      }
    }
    node = next;
  }
  if (node != 0) values_[static_cast<std::size_t>(node)] = value;
}

std::shared_ptr<Model> read_model(const Json& json, const std::string& where) {
  Fields fields(json, where);
  std::string type = fields.string("type", "");
  if (type.empty()) {  // files of the first versions name no type
    type = fields.has("merges")                      ? "BPE"
           : fields.has("unk_id")                    ? "Unigram"
           : fields.has("continuing_subword_prefix") ? "WordPiece"
                                                     : "WordLevel";
  }
  if (type == "BPE") return read_bpe(fields);
  if (type == "Unigram") return read_unigram(fields);
  if (type == "WordPiece") return read_word_piece(fields);
  if (type == "WordLevel") return read_word_level(fields);
  fail_unsupported(where, fmt::format("type '{}' is not known", type));
}

}  // namespace headway::inline v1::text::hub
