#include <fmt/format.h>

#include <headway/core/error.h>

#include "text/hub/models.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

// Always the longest token that fits (Wu et al. 2016); a word that cannot be cut so is one unknown token.
class WordPiece final : public Model {
 public:
  explicit WordPiece(Fields& fields) {
    tokens_ = TokenIndex(fields.at("vocab"), fields.where("vocab"));
    const std::string unknown = fields.string("unk_token", "[UNK]");
    unknown_ = tokens_.find(unknown);
    const std::string prefix = fields.string("continuing_subword_prefix", "##");
    longest_ = fields.has("max_input_chars_per_word")
                   ? static_cast<std::size_t>(fields.integer("max_input_chars_per_word", 0, kMaxId))
                   : 100;
    fields.done();
    for (std::int32_t id = 0; id < tokens_.size(); ++id) {
      const std::string* token = tokens_.token(id);
      if (token == nullptr || token->empty()) continue;
      first_.add(*token, id);
      if (token->starts_with(prefix) && token->size() > prefix.size())
        later_.add(token->substr(prefix.size()), id);
    }
  }

  void tokenize(std::string_view piece, ModelCache&, std::vector<ModelToken>& out) const override {
    const std::size_t first = out.size();
    bool fits = piece.size() <= longest_ || count_code_points(piece) <= longest_;
    for (std::size_t at = 0; fits && at < piece.size();) {
      std::size_t length = 0;
      std::int32_t id = -1;
      (at == 0 ? first_ : later_).walk(piece.substr(at), [&](std::size_t token_length, std::int32_t token) {
        length = token_length;
        id = token;
      });
      fits = id >= 0;
      if (fits) out.push_back({id, static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at + length)});
      at += length;
    }
    if (fits) return;
    if (unknown_ < 0)
      fail(ErrorCode::value, "HubTokenizer",
           fmt::format("'{}' cannot be cut, and the vocabulary has no unknown token", piece));
    out.resize(first);
    out.push_back({unknown_, 0, static_cast<std::uint32_t>(piece.size())});
  }

 private:
  Trie first_, later_;
  std::size_t longest_;
};

class WordLevel final : public Model {
 public:
  explicit WordLevel(Fields& fields) {
    tokens_ = TokenIndex(fields.at("vocab"), fields.where("vocab"));
    unknown_ = tokens_.find(fields.string("unk_token", "<unk>"));
    fields.done();
  }
  void tokenize(std::string_view piece, ModelCache&, std::vector<ModelToken>& out) const override {
    std::int32_t id = tokens_.find(piece);
    if (id < 0) id = unknown_;
    if (id < 0)
      fail(ErrorCode::value, "HubTokenizer",
           fmt::format("'{}' has no token, and the vocabulary no unknown token", piece));
    out.push_back({id, 0, static_cast<std::uint32_t>(piece.size())});
  }
};

}  // namespace

std::shared_ptr<Model> read_word_piece(Fields fields) { return std::make_shared<WordPiece>(fields); }
std::shared_ptr<Model> read_word_level(Fields fields) { return std::make_shared<WordLevel>(fields); }

}  // namespace headway::inline v1::text::hub
