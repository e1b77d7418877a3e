#include "text/hub/added_tokens.h"

#include <fmt/format.h>

#include <utility>

#include "text/hub/characters.h"
#include "text/hub/splitting.h"

namespace headway::inline v1::text::hub {
namespace {

// Where the last code point before `end` begins.
std::size_t previous(std::string_view text, std::size_t end) {
  std::size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool word_before(std::string_view text, std::size_t end) {
  if (end == 0) return false;
  std::size_t at = previous(text, end);
  return is_word(next_code_point(text, at));
}

bool word_after(std::string_view text, std::size_t begin) {
  return begin < text.size() && is_word(next_code_point(text, begin));
}

}  // namespace

void AddedTokens::Group::add(std::string_view content, std::int32_t index) {
  if (content.empty()) return;
  bool taken = false;  // of equal contents the first one counts
  trie.walk(content, [&](std::size_t length, std::int32_t) { taken = taken || length == content.size(); });
  if (!taken) trie.add(content, index);
  any = true;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer)
    : tokens_(std::move(tokens)) {
  // Special tokens come first where several could match.
  for (const bool special : {true, false}) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const AddedToken& token = tokens_[i];
      if (token.special != special) continue;
      by_id_[token.id] = i;
      by_content_[token.content] = i;
      if (!token.normalized) {
        plain_.add(token.content, static_cast<std::int32_t>(i));
        continue;
      }
      Aligned content(token.content, {0, static_cast<std::uint32_t>(token.content.size())});
      if (normalizer != nullptr) normalizer->apply(content);
      normalized_.add(content.text(), static_cast<std::int32_t>(i));
    }
  }
}

const AddedToken* AddedTokens::find(std::int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

bool AddedTokens::is_special(std::int32_t id) const {
  const AddedToken* token = find(id);
  return token != nullptr && token->special;
}

void AddedTokens::split(Cut& cut, const Group& group, bool special_in_text) const {
  if (!group.any) return;
  cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
    const std::string_view text = cut.view(piece);
    std::size_t done = 0;
    const auto add = [&](std::size_t begin, std::size_t end, std::int32_t id) {
      if (begin >= end && id < 0) return;
      out.push_back({piece.text, piece.begin + static_cast<std::uint32_t>(begin),
                     piece.begin + static_cast<std::uint32_t>(end), id});
    };
    for (std::size_t at = 0; at < text.size();) {
      std::size_t length = 0;
      std::int32_t index = -1;
      group.trie.walk(text.substr(at), [&](std::size_t found, std::int32_t value) {
        length = found;
        index = value;
      });
      if (index < 0) {
        ++at;
        continue;
      }
      const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
      std::size_t begin = at;
      std::size_t end = at + length;
      at = end;
      if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
      if (token.special && !special_in_text) continue;
      if (token.lstrip) {
        while (begin > done) {
          const std::size_t last = previous(text, begin);
          std::size_t next = last;
          if (!is_white(next_code_point(text, next))) break;
          begin = last;
        }
      }
      if (token.rstrip) {
        while (end < text.size()) {
          std::size_t next = end;
          if (!is_white(next_code_point(text, next))) break;
          end = next;
        }
      }
      if (begin < done) continue;  // the blanks of the one before reach into it
      add(done, begin, -1);
      add(begin, end, token.id);
      done = end;
    }
    add(done, text.size(), -1);
  });
}

void AddedTokens::apply(Cut& cut, const Normalizer* normalizer, bool special_in_text) const {
  split(cut, plain_, special_in_text);
  if (normalizer != nullptr) {
    for (Piece& piece : cut.pieces) {
      if (piece.id >= 0 || piece.begin >= piece.end) continue;
      Aligned& text = cut.detach(piece);
      normalizer->apply(text);
      piece.end = text.size();
    }
  }
  split(cut, normalized_, special_in_text);
}

std::vector<AddedToken> read_added_tokens(const Json& json, const std::string& where) {
  std::vector<AddedToken> tokens;
  for (const Json& entry : array_of(json, where)) {
    Fields fields(entry, fmt::format("{}[{}]", where, tokens.size()));
    AddedToken token;
    token.id = static_cast<std::int32_t>(fields.integer("id", 0, kMaxId));
    token.content = fields.string("content");
    token.special = fields.boolean("special", false);
    token.single_word = fields.boolean("single_word", false);
    token.lstrip = fields.boolean("lstrip", false);
    token.rstrip = fields.boolean("rstrip", false);
    token.normalized = fields.boolean("normalized", !token.special);
    fields.done();
    if (find_invalid_utf8(token.content)) fail_format(fields.where("content"), "is not valid UTF-8");
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace headway::inline v1::text::hub
