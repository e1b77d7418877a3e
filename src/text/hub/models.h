#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/hub/fields.h"

namespace headway::inline v1::text::hub {

/// A token with the bytes of its piece that it stands for.
struct ModelToken {
  std::int32_t id = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// Tokens by id and ids by token.
class TokenIndex {
 public:
  TokenIndex() = default;
  /// The object {token: id} of tokenizer.json. Error(format) for ids so sparse that their table would be
  /// much larger than the file.
  TokenIndex(const Json& vocabulary, const std::string& where);
  /// Ids in order.
  explicit TokenIndex(std::vector<std::string> tokens);

  std::int32_t find(std::string_view token) const;  // -1: none
  /// nullptr: none.
  const std::string* token(std::int64_t id) const;
  /// One more than the largest id.
  std::int32_t size() const { return static_cast<std::int32_t>(tokens_.size()); }
  /// How many tokens there are.
  std::int32_t count() const { return count_; }

 private:
  void build();

  std::vector<std::string> tokens_;
  std::vector<bool> present_;
  std::vector<std::int32_t> slots_;
  std::int32_t count_ = 0;
};

/// What a thread keeps between texts: buffers, and the words that it has cut already.
struct ModelCache {
  struct Entry {
    std::string word;
    std::vector<ModelToken> tokens;
  };
  struct Symbol {
    std::int32_t id;
    std::int32_t previous, next;
    std::uint32_t begin, end;
  };
  struct Merge {
    std::uint32_t rank;
    std::int32_t at;
    std::int32_t id;
  };
  struct Step {
    double score;
    std::int32_t from;
    std::int32_t id;
  };
  std::vector<Entry> words;
  std::vector<Symbol> symbols;
  std::vector<Merge> queue;
  std::vector<Step> steps;
};

/// What turns a piece into tokens: section "model" of tokenizer.json.
class Model {
 public:
  virtual ~Model() = default;
  virtual void tokenize(std::string_view piece, ModelCache& cache, std::vector<ModelToken>& out) const = 0;
  /// Takes pieces of plain bytes from now on, not of letters that spell them; false where it cannot.
  virtual bool take_bytes() { return false; }
  const TokenIndex& tokens() const { return tokens_; }
  std::int32_t unknown() const { return unknown_; }  // -1: none

 protected:
  TokenIndex tokens_;
  std::int32_t unknown_ = -1;
};

std::shared_ptr<Model> read_model(const Json& json, const std::string& where);
std::shared_ptr<Model> read_bpe(Fields fields);
std::shared_ptr<Model> read_unigram(Fields fields);
std::shared_ptr<Model> read_word_piece(Fields fields);
std::shared_ptr<Model> read_word_level(Fields fields);

/// The token that stands for a byte where a model falls back on bytes: "<0x0A>".
std::string byte_token(unsigned char byte);

/// Byte strings to numbers, walked byte by byte.
class Trie {
 public:
  void add(std::string_view key, std::int32_t value);
  /// Calls found(length, value) for every key that begins `text`, shortest first.
  template <typename Found>
  void walk(std::string_view text, Found&& found) const {
    std::int32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node < 0) return;
      if (values_[static_cast<std::size_t>(node)] >= 0) {
        found(i + 1, values_[static_cast<std::size_t>(node)]);
      }
    }
  }

 private:
  std::int32_t child(std::int32_t node, unsigned char byte) const {
    if (node == 0) return roots_[byte];
    if (slots_.empty()) return -1;
    const std::uint64_t key = static_cast<std::uint64_t>(node) << 8 | byte;
    for (std::size_t at = slot_of(key);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].key == key) return slots_[at].node;
      if (slots_[at].node < 0) return -1;
    }
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>(key * 0x9E3779B97F4A7C15ULL >> 20) & (slots_.size() - 1);
  }
  void insert(std::uint64_t key, std::int32_t node);

  struct Slot {
    std::uint64_t key = 0;
    std::int32_t node = -1;
  };
  std::vector<std::int32_t> roots_ = std::vector<std::int32_t>(256, -1);
  std::vector<std::int32_t> values_{-1};
  std::vector<Slot> slots_;
  std::size_t filled_ = 0;
};

}  // namespace headway::inline v1::text::hub
