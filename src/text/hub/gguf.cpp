#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <headway/core/error.h>

#include "text/hub/converters.h"
#include "text/hub/gguf_pre_tokenizers.h"
#include "text/hub/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

using hub::Json;
constexpr std::string_view kOperation = "HubTokenizer::from_gguf";
constexpr std::string_view kMark = "\u2581";
enum GgufType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

const hub::GgufPreTokenizer& find_pre(const std::string& name) {
  const std::string wanted = fmt::format(" {} ", name);
  for (const hub::GgufPreTokenizer& pre : hub::gguf_pre_tokenizers()) {
    if (!name.empty() && fmt::format(" {} ", pre.names).find(wanted) != std::string::npos) return pre;
  }
  fail(ErrorCode::unsupported, kOperation,
       fmt::format("the pre-tokenizer is '{}'; want one of those known: default, gpt-2, smollm, llama-bpe, "
                   "qwen2, tekken, gpt-4o, falcon …",
                   name));
}

std::string piece_or(const GgufVocabulary& vocabulary, const std::optional<std::int32_t>& id,
                     std::string_view otherwise) {
  return id ? vocabulary.tokens[static_cast<std::size_t>(*id)] : std::string(otherwise);
}

int type_of(const GgufVocabulary& vocabulary, std::size_t id) {
  return vocabulary.types.empty() ? kNormal : vocabulary.types[id];
}

void check(const GgufVocabulary& vocabulary) {
  const std::size_t count = vocabulary.tokens.size();
  const auto wrong = [&](std::string_view what, std::size_t size) {
    fail(ErrorCode::format, kOperation,
         fmt::format("{} has {} entries, tokens {}; want equal numbers", what, size, count));
  };
  if (count == 0) fail(ErrorCode::format, kOperation, "there are no tokens");
  if (!vocabulary.types.empty() && vocabulary.types.size() != count)
    wrong("token_type", vocabulary.types.size());
  if (!vocabulary.scores.empty() && vocabulary.scores.size() != count)
    wrong("scores", vocabulary.scores.size());
  for (const std::string& token : vocabulary.tokens) {
    if (find_invalid_utf8(token)) fail(ErrorCode::format, kOperation, "a token is not valid UTF-8");
  }
  for (const auto& [name, id] : {std::pair{"bos", vocabulary.bos},
                                 {"eos", vocabulary.eos},
                                 {"eot", vocabulary.eot},
                                 {"unknown", vocabulary.unknown},
                                 {"separator", vocabulary.separator},
                                 {"padding", vocabulary.padding},
                                 {"cls", vocabulary.cls},
                                 {"mask", vocabulary.mask}}) {
    if (id && (*id < 0 || static_cast<std::size_t>(*id) >= count)) {
      fail(ErrorCode::format, kOperation, fmt::format("{} token is {}; want below {}", name, *id, count));
    }
  }
}

Json vocabulary_of(const std::vector<std::string>& tokens) {
  Json vocabulary = Json::object();
  for (std::size_t i = 0; i < tokens.size(); ++i)
    vocabulary.emplace(tokens[i], i);  // of equal ones, the first
  return vocabulary;
}

Json added_of(const GgufVocabulary& vocabulary, bool unknown_too) {
  Json added = Json::array();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const int type = type_of(vocabulary, i);
    if (type == kControl || type == kUserDefined || (type == kUnknown && unknown_too)) {
      added.push_back(
          hub::added_token(static_cast<std::int64_t>(i), vocabulary.tokens[i], type != kUserDefined));
    }
  }
  return added;
}

Json around_of(const GgufVocabulary& vocabulary, const Json& ids, bool bos, bool eos) {
  hub::Around around;
  if (bos && vocabulary.bos) around.before = around.between = {piece_or(vocabulary, vocabulary.bos, "")};
  if (eos && vocabulary.eos) {
    around.after = {piece_or(vocabulary, vocabulary.eos, "")};
    around.between.insert(around.between.begin(), around.after.front());
  }
  return hub::template_processing(around, ids, "from_gguf");
}

Json from_byte_level(const GgufVocabulary& vocabulary) {
  const hub::GgufPreTokenizer& pre = find_pre(vocabulary.pre);
  const Json ids = vocabulary_of(vocabulary.tokens);
  Json steps = Json::array();
  for (const char* pattern : pre.patterns) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(
      {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
  Json json = {
      {"version", "1.0"},
      {"added_tokens", added_of(vocabulary, true)},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
      {"post_processor", around_of(vocabulary, ids, vocabulary.add_bos.value_or(pre.adds_bos),
                                   vocabulary.add_eos.value_or(false))},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"}, {"ignore_merges", pre.whole_words}, {"vocab", ids}, {"merges", vocabulary.merges}}}};
  if (pre.composed) json["normalizer"] = {{"type", "NFC"}};
  return json;
}

Json from_sentence_piece(const GgufVocabulary& vocabulary) {
  if (vocabulary.scores.empty()) fail(ErrorCode::format, kOperation, "model 'llama' has no scores");
  const Json ids = vocabulary_of(vocabulary.tokens);
  std::vector<bool> reached;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i)
    reached.push_back(type_of(vocabulary, i) == kNormal);
  const bool prefix = vocabulary.add_space_prefix.value_or(true);
  const auto replace = [](std::string_view from, std::string_view to) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  Json normalizers = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kMark}});
  normalizers.push_back(replace(" ", kMark));
  Json decoders = {replace(kMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  Json model = {{"type", "BPE"},
                {"fuse_unk", true},
                {"byte_fallback", true},
                {"vocab", ids},
                {"merges", hub::merges_of(vocabulary.tokens, vocabulary.scores, reached)}};
  if (vocabulary.unknown) model["unk_token"] = piece_or(vocabulary, vocabulary.unknown, "");
  return {{"version", "1.0"},
          {"added_tokens", added_of(vocabulary, true)},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"post_processor",
           around_of(vocabulary, ids, vocabulary.add_bos.value_or(true), vocabulary.add_eos.value_or(false))},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model", model}};
}

// GGUF marks the beginnings of words, vocab.txt what continues them.
Json from_word_piece(const GgufVocabulary& vocabulary) {
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& token = vocabulary.tokens[i];
    if (token.starts_with(kMark)) {
      tokens.push_back(token.substr(kMark.size()));
    } else if (type_of(vocabulary, i) != kNormal || (token.starts_with('[') && token.ends_with(']'))) {
      tokens.push_back(token);
    } else {
      tokens.push_back(fmt::format("##{}", token));
    }
  }
  std::string text;
  for (const std::string& token : tokens) text += token + "\n";
  const auto named = [&](const std::optional<std::int32_t>& id, std::string_view otherwise) {
    return id ? tokens[static_cast<std::size_t>(*id)] : std::string(otherwise);
  };
  hub::Config config;
  config.special_tokens_map = {
      {"cls_token", named(vocabulary.cls ? vocabulary.cls : vocabulary.bos, "[CLS]")},
      {"sep_token", named(vocabulary.separator ? vocabulary.separator : vocabulary.eos, "[SEP]")},
      {"unk_token", named(vocabulary.unknown, "[UNK]")},
      {"pad_token", named(vocabulary.padding, "[PAD]")},
      {"mask_token", named(vocabulary.mask, "[MASK]")}};
  return hub::from_vocab_txt(text, config, "from_gguf");
}

}  // namespace

HubTokenizer HubTokenizer::from_gguf(const GgufVocabulary& vocabulary) {
  check(vocabulary);
  Json json;
  if (vocabulary.model == "gpt2") {
    json = from_byte_level(vocabulary);
  } else if (vocabulary.model == "llama") {
    json = from_sentence_piece(vocabulary);
  } else if (vocabulary.model == "bert") {
    json = from_word_piece(vocabulary);
  } else {
    fail(ErrorCode::unsupported, kOperation,
         fmt::format("the tokenizer model is '{}'; want gpt2, llama or bert", vocabulary.model));
  }
  auto impl = hub::assemble(json, "from_gguf");
  SpecialTokens& special = impl->special;
  special.bos = vocabulary.bos;
  special.eos = vocabulary.eos;
  special.padding = vocabulary.padding;
  if (vocabulary.unknown) special.unknown = vocabulary.unknown;
  special.separator = vocabulary.separator;
  special.cls = vocabulary.cls;
  special.mask = vocabulary.mask;
  impl->chat_template = vocabulary.chat_template;
  if (vocabulary.eot && vocabulary.eot != vocabulary.eos) impl->end_ids.push_back(*vocabulary.eot);
  hub::find_ends(*impl);
  Json config = Json::object();
  const std::pair<const char*, std::optional<std::int32_t>> names[] = {
      {"bos_token", special.bos},     {"eos_token", special.eos},       {"pad_token", special.padding},
      {"unk_token", special.unknown}, {"sep_token", special.separator}, {"cls_token", special.cls},
      {"mask_token", special.mask}};
  for (const auto& [name, id] : names) {
    if (id) config[name] = *impl->token(*id);
  }
  if (!vocabulary.chat_template.empty()) config["chat_template"] = vocabulary.chat_template;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  impl->files.push_back({"tokenizer.json", json.dump()});
  impl->files.push_back({"tokenizer_config.json", config.dump(2)});
  impl->gguf = std::make_shared<const GgufVocabulary>(vocabulary);
  return HubTokenizer(std::move(impl));
}

}  // namespace headway::inline v1::text
