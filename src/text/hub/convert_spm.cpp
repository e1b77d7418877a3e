#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "text/hub/converters.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

constexpr std::string_view kMark = "\u2581";

Json metaspace(bool prefix) {
  return {{"type", "Metaspace"},
          {"replacement", kMark},
          {"prepend_scheme", prefix ? "always" : "never"},
          {"split", true}};
}

Json replace(const char* kind, std::string_view pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

Json normalizer_of(const SpmModel& model, SpmFamily family, const Config& config) {
  Json steps = Json::array();
  if (family == SpmFamily::albert) {
    steps.push_back(replace("String", "``", "\""));
    steps.push_back(replace("String", "''", "\""));
    if (!flag(config, "keep_accents", false)) {
      steps.push_back({{"type", "NFKD"}});
      steps.push_back({{"type", "StripAccents"}});
    }
    if (flag(config, "do_lower_case", true)) steps.push_back({{"type", "Lowercase"}});
  }
  if (!model.charsmap.empty())
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(model.charsmap)}});
  if (family == SpmFamily::albert) {
    steps.push_back(replace("Regex", " {2,}", " "));
  } else {
    steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
    steps.push_back(replace("Regex", " {2,}", kMark));
  }
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

// Pieces with their ids in the family's own numbering.
std::vector<SpmPiece> pieces_of(const SpmModel& model, SpmFamily family, const Config& config) {
  std::vector<SpmPiece> pieces = model.pieces;
  if (family == SpmFamily::xlm_roberta) {
    // fairseq's order: <s>, <pad>, </s>, <unk> before the pieces, whose own first three go.
    pieces.erase(pieces.begin(),
                 pieces.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, pieces.size())));
    pieces.insert(pieces.begin(), {{"<s>", 0, SpmPieceType::control},
                                   {"<pad>", 0, SpmPieceType::control},
                                   {"</s>", 0, SpmPieceType::control},
                                   {"<unk>", 0, SpmPieceType::unknown}});
    pieces.push_back({"<mask>", 0, SpmPieceType::control});
  }
  if (family == SpmFamily::t5) {
    std::int64_t extra = 100;
    if (config.tokenizer_config.is_object() && config.tokenizer_config.contains("extra_ids")) {
      extra = integer_of(config.tokenizer_config["extra_ids"], "extra_ids", 0, 10000);
    }
    const bool there = std::any_of(pieces.begin(), pieces.end(),
                                   [](const SpmPiece& p) { return p.piece == "<extra_id_0>"; });
    for (std::int64_t i = extra; i > 0 && !there; --i) {
      pieces.push_back({fmt::format("<extra_id_{}>", i - 1), 0, SpmPieceType::control});
    }
  }
  return pieces;
}

Around around_of(SpmFamily family, const Config& config) {
  const std::string bos = special_token(config, "bos_token").value_or("<s>");
  const std::string eos = special_token(config, "eos_token").value_or("</s>");
  switch (family) {
    case SpmFamily::t5:
      return {{}, {eos}, {eos}, 0};
    case SpmFamily::albert:
      return {{"[CLS]"}, {"[SEP]"}, {"[SEP]"}, 1};
    case SpmFamily::xlm_roberta:
      return {{"<s>"}, {"</s>", "</s>"}, {"</s>"}, 0};
    case SpmFamily::llama:
      break;
  }
  Around around;
  if (flag(config, "add_bos_token", true)) around.before = around.between = {bos};
  if (flag(config, "add_eos_token", false)) {
    around.between.insert(around.between.begin(), eos);
    around.after = {eos};
  }
  return around;
}

}  // namespace

Json merges_of(const std::vector<std::string>& tokens, const std::vector<float>& scores,
               const std::vector<bool>& reached) {
  const TokenIndex index(tokens);
  struct Found {
    float score;
    std::int32_t left, right;
  };
  std::vector<Found> found;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string& token = tokens[id];
    if (!reached[id]) continue;
    const std::size_t first = found.size();
    for (std::size_t cut = 1; cut < token.size() && token.size() <= 512; ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
      const std::int32_t left = index.find(std::string_view(token).substr(0, cut));
      const std::int32_t right = left < 0 ? -1 : index.find(std::string_view(token).substr(cut));
      if (right >= 0) found.push_back({scores[id], left, right});
    }
    std::sort(
        found.begin() + static_cast<std::ptrdiff_t>(first), found.end(),
        [](const Found& a, const Found& b) { return std::tie(a.left, a.right) < std::tie(b.left, b.right); });
  }
  std::stable_sort(found.begin(), found.end(), [&](const Found& a, const Found& b) {
    const auto key = [&](const Found& f) {
      return std::tuple(f.score, count_code_points(tokens[static_cast<std::size_t>(f.left)]),
                        count_code_points(tokens[static_cast<std::size_t>(f.right)]));
    };
    return key(a) > key(b);
  });
  Json merges = Json::array();
  for (const Found& f : found) {
    merges.push_back({tokens[static_cast<std::size_t>(f.left)], tokens[static_cast<std::size_t>(f.right)]});
  }
  return merges;
}

Json from_spm(const SpmModel& model, SpmFamily family, const Config& config, const std::string& what) {
  const std::vector<SpmPiece> pieces = pieces_of(model, family, config);
  std::int64_t unknown = -1;
  Json vocabulary = Json::object();
  Json added = Json::array();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const SpmPiece& piece = pieces[i];
    if (piece.type == SpmPieceType::unknown && unknown < 0) unknown = static_cast<std::int64_t>(i);
    if (!vocabulary.emplace(piece.piece, i).second)
      fail_format(what, fmt::format("has the piece '{}' twice", piece.piece));
    if (piece.type == SpmPieceType::control || piece.type == SpmPieceType::user_defined ||
        piece.type == SpmPieceType::unknown) {
      Json entry =
          added_token(static_cast<std::int64_t>(i), piece.piece, piece.type != SpmPieceType::user_defined);
      if (piece.piece == "<mask>" || piece.piece == "[MASK]") entry["lstrip"] = true;
      added.push_back(entry);
    }
  }
  if (unknown < 0) fail_format(what, "has no unknown piece");
  const bool bpe = model.kind == SpmModel::Kind::bpe;
  Json json = {{"version", "1.0"}, {"added_tokens", added}};
  if (bpe) {
    std::vector<std::string> tokens;
    std::vector<float> scores;
    std::vector<bool> reached;
    for (const SpmPiece& piece : pieces) {
      tokens.push_back(piece.piece);
      scores.push_back(piece.score);
      reached.push_back(piece.type == SpmPieceType::normal);
    }
    json["model"] = {{"type", "BPE"},       {"unk_token", pieces[static_cast<std::size_t>(unknown)].piece},
                     {"fuse_unk", true},    {"byte_fallback", model.byte_fallback},
                     {"vocab", vocabulary}, {"merges", merges_of(tokens, scores, reached)}};
  } else {
    Json scored = Json::array();
    for (const SpmPiece& piece : pieces) scored.push_back({piece.piece, piece.score});
    json["model"] = {
        {"type", "Unigram"}, {"unk_id", unknown}, {"vocab", scored}, {"byte_fallback", model.byte_fallback}};
  }
  if (family == SpmFamily::llama) {
    Json steps = Json::array();
    if (model.add_dummy_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kMark}});
    steps.push_back(replace("String", " ", kMark));
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
    Json decoders = {replace("String", kMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
    if (model.add_dummy_prefix)
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    json["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
  } else {
    json["normalizer"] = normalizer_of(model, family, config);
    json["pre_tokenizer"] = metaspace(model.add_dummy_prefix);
    json["decoder"] = metaspace(model.add_dummy_prefix);
  }
  json["post_processor"] = template_processing(around_of(family, config), vocabulary, what);
  return json;
}

Json from_marian(const SpmModel& source, std::string_view vocabulary_text, const std::string& what) {
  const Json vocabulary = parse_json(vocabulary_text, what);
  const TokenIndex index(vocabulary, what);
  const std::int32_t unknown = index.find("<unk>");
  if (unknown < 0 || source.kind != SpmModel::Kind::unigram)
    fail_format(what, "want a unigram model, and '<unk>' in vocab.json");
  // Tokens that only the target language has: source texts are never cut into them.
  const double never = std::numeric_limits<double>::quiet_NaN();
  Json scored = Json::array();
  for (std::int32_t id = 0; id < index.size(); ++id) {
    const std::string* token = index.token(id);
    scored.push_back({token == nullptr ? fmt::format("<no token {}>", id) : *token, never});
  }
  for (const SpmPiece& piece : source.pieces) {
    const std::int32_t id = index.find(piece.piece);
    if (id >= 0 && piece.type == SpmPieceType::normal) scored[static_cast<std::size_t>(id)][1] = piece.score;
  }
  Json steps = Json::array();
  if (!source.charsmap.empty())
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(source.charsmap)}});
  steps.push_back({{"type", "Strip"},
                   {"strip_left", source.remove_extra_whitespaces},
                   {"strip_right", source.remove_extra_whitespaces}});
  if (source.remove_extra_whitespaces) steps.push_back(replace("Regex", " {2,}", " "));
  Json added = Json::array();
  for (const char* name : {"</s>", "<unk>", "<pad>"}) {
    if (index.find(name) >= 0) added.push_back(added_token(index.find(name), name, true));
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", steps}}},
          {"pre_tokenizer", metaspace(true)},
          {"post_processor", template_processing({{}, {}, {"</s>"}, 0}, vocabulary, what)},
          {"decoder", metaspace(true)},
          {"model", {{"type", "Unigram"}, {"unk_id", unknown}, {"vocab", scored}}}};
}

}  // namespace headway::inline v1::text::hub
