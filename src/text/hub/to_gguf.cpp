#include <algorithm>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>

#include "text/hub/converters.h"
#include "text/hub/gguf_pre_tokenizers.h"
#include "text/hub/tokenizer_impl.h"

namespace headway::inline v1::text {
namespace {

using hub::Json;
constexpr std::string_view kOperation = "HubTokenizer::to_gguf";

[[noreturn]] void refuse(const std::string& message) { fail(ErrorCode::unsupported, kOperation, message); }

const std::string* file_of(const HubTokenizer::Impl& impl, std::string_view name) {
  for (const hub::File& file : impl.files) {
    if (file.name == name) return &file.bytes;
  }
  return nullptr;
}

// The expressions by which a pre_tokenizer cuts words, one after another, before its byte level.
void add_patterns(const Json& step, std::vector<std::string>& patterns) {
  const std::string type = step.value("type", "");
  if (type == "Sequence") {
    for (const Json& inner : step["pretokenizers"]) add_patterns(inner, patterns);
  } else if (type == "Split" && step["pattern"].contains("Regex") &&
             step.value("behavior", "") == "Isolated" && !step.value("invert", false)) {
    patterns.push_back(step["pattern"]["Regex"].get<std::string>());
  } else if (type == "Digits") {
    patterns.emplace_back(step.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
  } else if (type == "ByteLevel" && !step.value("add_prefix_space", true)) {
    if (step.value("use_regex", true))
      patterns.emplace_back(hub::gguf_pre_tokenizers().front().patterns.front());
  } else {
    refuse(fmt::format("its pre_tokenizer has {}", quoted(step.dump(), 60)));
  }
}

// The name of what cuts words the same way.
std::string pre_of(const Json& json) {
  std::vector<std::string> patterns;
  add_patterns(json.at("pre_tokenizer"), patterns);
  const Json& model = json.at("model");
  const bool whole_words = model.value("ignore_merges", false);
  const Json normalizer = json.value("normalizer", Json());
  const bool composed = normalizer.is_object() && normalizer.value("type", "") == "NFC";
  if (!normalizer.is_null() && !composed)
    refuse(fmt::format("its normalizer is {}", quoted(normalizer.dump(), 60)));
  for (const hub::GgufPreTokenizer& pre : hub::gguf_pre_tokenizers()) {
    const bool same = std::ranges::equal(pre.patterns, patterns,
                                         [](const char* a, const std::string& b) { return a == b; });
    if (same && pre.whole_words == whole_words && pre.composed == composed)
      return std::string(pre.names.substr(0, pre.names.find(' ')));
  }
  refuse(fmt::format("no name is known for how its pre_tokenizer cuts words ({})",
                     quoted(patterns.empty() ? "" : patterns.back(), 80)));
}

// Tokens by their ids; what no token has is unused.
void place(GgufVocabulary& v, std::size_t id, const std::string& token, hub::SpmPieceType type) {
  while (v.tokens.size() <= id) {
    v.tokens.push_back(fmt::format("[PAD{}]", v.tokens.size()));
    v.types.push_back(static_cast<std::int32_t>(hub::SpmPieceType::unused));
    if (v.model == "llama") v.scores.push_back(-1000);
  }
  v.tokens[id] = token;
  v.types[id] = static_cast<std::int32_t>(type);
}

void place_added(GgufVocabulary& v, const Json& json) {
  for (const Json& token : json.value("added_tokens", Json::array())) {
    place(v, token.at("id").get<std::size_t>(), token.at("content").get<std::string>(),
          token.value("special", false) ? hub::SpmPieceType::control : hub::SpmPieceType::user_defined);
  }
}

GgufVocabulary byte_level(const Json& json) {
  const Json& model = json.at("model");
  if (model.value("type", "") != "BPE" || json.value("decoder", Json()).value("type", "") != "ByteLevel")
    refuse(fmt::format("its model is {}; want byte-level BPE or SentencePiece BPE",
                       quoted(model.value("type", ""))));
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = pre_of(json);
  for (const auto& [token, id] : model.at("vocab").items())
    place(v, id.get<std::size_t>(), token, hub::SpmPieceType::normal);
  place_added(v, json);
  for (const Json& merge : model.at("merges")) {
    v.merges.push_back(merge.is_string()
                           ? merge.get<std::string>()
                           : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
  }
  return v;
}

GgufVocabulary sentence_piece(const hub::SpmModel& spm) {
  if (spm.kind != hub::SpmModel::Kind::bpe) refuse("its SentencePiece model is not BPE");
  GgufVocabulary v;
  v.model = "llama";
  v.pre = "default";
  for (const hub::SpmPiece& piece : spm.pieces) {
    v.tokens.push_back(piece.piece);
    v.scores.push_back(piece.score);
    v.types.push_back(static_cast<std::int32_t>(piece.type));
  }
  v.add_space_prefix = spm.add_dummy_prefix;
  return v;
}

// Words, numbers, white space, marks, other scripts: where tokenizers of the same kind differ.
constexpr const char* kTried[] = {"Hello, world! It's 2024.",
                                  "  two  blanks\n\n\tand\ttabs \r\n",
                                  "12345 1,000.50 x²",
                                  "def f(x):\n    return x == {'a': [1]}",
                                  "Grüße aus Köln — naïve café, e\u0301",
                                  "日本語のテキスト 한국어 العربية हिन्दी",
                                  "😀👩‍👩‍👧 <|x|> ==> ~~~ ___",
                                  "I'LL we'Re DON'T"};

}  // namespace

GgufVocabulary HubTokenizer::to_gguf(std::int32_t size) const {
  GgufVocabulary v;
  if (impl_->gguf) {
    v = *impl_->gguf;
  } else {
    const std::string* json = file_of(*impl_, "tokenizer.json");
    const Json parsed = json ? hub::parse_json(*json, "tokenizer.json") : Json::object();
    if (const std::string* model = file_of(*impl_, "tokenizer.model")) {
      v = sentence_piece(hub::read_spm(*model, "tokenizer.model"));
    } else if (json) {
      v = byte_level(parsed);
    } else {
      refuse("it is neither a tokenizer.json nor a tokenizer.model");
    }
    if (v.model == "llama") place_added(v, parsed);
    v.bos = special_tokens().bos;
    v.eos = special_tokens().eos;
    v.unknown = special_tokens().unknown;
    v.padding = special_tokens().padding;
    v.add_bos = adds_bos();
    const std::vector<std::int32_t> around = encode("").ids;
    v.add_eos = v.eos && !around.empty() && around.back() == *v.eos && around.size() > (adds_bos() ? 1U : 0U);
    v.chat_template = chat_template();
  }
  if (size > 0) {
    if (static_cast<std::size_t>(size) < v.tokens.size())
      fail(ErrorCode::value, kOperation, fmt::format("size is {}; want {} or more", size, v.tokens.size()));
    if (static_cast<std::size_t>(size) > v.tokens.size()) {
      const auto last = static_cast<std::size_t>(size) - 1;
      place(v, last, fmt::format("[PAD{}]", last), hub::SpmPieceType::unused);
    }
  }
  const HubTokenizer again = from_gguf(v);
  for (const char* text : kTried) {
    if (again.encode(text, {.max_length = 0}).ids != encode(text, {.max_length = 0}).ids)
      refuse(fmt::format("read from GGUF it would cut {} otherwise", quoted(text)));
  }
  return v;
}

}  // namespace headway::inline v1::text
