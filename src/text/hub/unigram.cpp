#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <headway/core/error.h>

#include "text/hub/aligned.h"
#include "text/hub/models.h"

namespace headway::inline v1::text::hub {
namespace {

constexpr double kUnknownPenalty = 10;

// The likeliest cut under independent tokens (Kudo 2018), by Viterbi's algorithm.
class Unigram final : public Model {
 public:
  explicit Unigram(Fields& fields) {
    const std::string where = fields.where("vocab");
    std::vector<std::string> tokens;
    double least = std::numeric_limits<double>::infinity();
    for (const Json& entry : array_of(fields.at("vocab"), where)) {
      const bool sound =
          entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number();
      const double score = sound ? entry[1].get<double>() : 0;
      if (!sound || std::isinf(score)) {
        fail_format(where, fmt::format("entry {} is no pair of a token and a finite score", tokens.size()));
      }
      tokens.push_back(entry[0].get<std::string>());
      scores_.push_back(score);
      if (!std::isnan(score)) least = std::min(least, score);
    }
    tokens_ = TokenIndex(std::move(tokens));
    unknown_score_ = least - kUnknownPenalty;
    if (const Json* unknown = fields.find("unk_id")) {
      unknown_ =
          static_cast<std::int32_t>(integer_of(*unknown, fields.where("unk_id"), 0, tokens_.size() - 1));
    }
    byte_fallback_ = fields.boolean("byte_fallback", false);
    fields.done();
    for (std::int32_t id = 0; id < tokens_.size(); ++id) {
      const std::string& token = *tokens_.token(id);
      // No JSON text has a NaN: converters mark tokens so that no text is cut into.
      if (!token.empty() && !std::isnan(scores_[static_cast<std::size_t>(id)]))
        trie_.add(token, tokens_.find(token));
    }
    for (int byte = 0; byte < 256; ++byte) {
      bytes_[static_cast<std::size_t>(byte)] = tokens_.find(byte_token(static_cast<unsigned char>(byte)));
    }
  }

  void tokenize(std::string_view piece, ModelCache& cache, std::vector<ModelToken>& out) const override {
    auto& steps = cache.steps;  // the best way to each position
    steps.assign(piece.size() + 1, {0, -1, 0});
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t length = std::min<std::size_t>(utf8_length(piece[at]), piece.size() - at);
      const double score = steps[at].score;
      bool single = false;
      const auto reach = [&](std::size_t end, double reached, std::int32_t id) {
        auto& step = steps[end];
        if (step.from < 0 || reached > step.score) step = {reached, static_cast<std::int32_t>(at), id};
      };
      trie_.walk(piece.substr(at), [&](std::size_t token_length, std::int32_t id) {
        reach(at + token_length, score + scores_[static_cast<std::size_t>(id)], id);
        single = single || token_length == length;
      });
      if (!single) {
        if (unknown_ < 0) {
          fail(ErrorCode::value, "HubTokenizer",
               fmt::format("'{}' has no token, and the vocabulary no unknown token",
                           piece.substr(at, length)));
        }
        reach(at + length, score + unknown_score_, unknown_);
      }
      at += length;
    }
    const std::size_t first = out.size();
    bool any_unknown = false;
    for (std::size_t end = piece.size(); end > 0;) {
      const auto& step = steps[end];
      const auto begin = static_cast<std::uint32_t>(step.from);
      any_unknown = any_unknown || step.id == unknown_;
      // Unknown neighbours are one token.
      if (step.id == unknown_ && out.size() > first && out.back().id == unknown_) {
        out.back().begin = begin;
      } else {
        out.push_back({step.id, begin, static_cast<std::uint32_t>(end)});
      }
      end = begin;
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
    if (any_unknown) resolve_unknown(piece, first, out);
  }

 private:
  // An unknown run that happens to be a token is that token. Else, where bytes have tokens, they stand for
  // it, each for the whole run.
  void resolve_unknown(std::string_view piece, std::size_t first, std::vector<ModelToken>& out) const {
    std::vector<ModelToken> resolved;
    for (std::size_t i = first; i < out.size(); ++i) {
      ModelToken token = out[i];
      if (token.id == unknown_) {
        const std::string_view text = piece.substr(token.begin, token.end - token.begin);
        const std::int32_t found = tokens_.find(text);
        if (found < 0 && byte_fallback_ && has_bytes(text)) {
          for (const char c : text) {
            resolved.push_back({bytes_[static_cast<unsigned char>(c)], token.begin, token.end});
          }
          continue;
        }
        if (found >= 0) token.id = found;
      }
      resolved.push_back(token);
    }
    out.resize(first);
    out.insert(out.end(), resolved.begin(), resolved.end());
  }

  bool has_bytes(std::string_view text) const {
    return std::all_of(text.begin(), text.end(),
                       [&](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; });
  }

  std::vector<double> scores_;
  double unknown_score_ = 0;
  bool byte_fallback_ = false;
  std::array<std::int32_t, 256> bytes_{};
  Trie trie_;
};

}  // namespace

std::shared_ptr<Model> read_unigram(Fields fields) { return std::make_shared<Unigram>(fields); }

}  // namespace headway::inline v1::text::hub
