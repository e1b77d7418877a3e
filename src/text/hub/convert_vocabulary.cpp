#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/hub/converters.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

void check_utf8(std::string_view text, const std::string& what) {
  if (const auto bad = find_invalid_utf8(text))
    fail_format(what, fmt::format("is not valid UTF-8 at byte {}", *bad));
}

}  // namespace

Json added_token(std::int64_t id, std::string_view content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

Json template_processing(const Around& around, const Json& vocabulary, const std::string& what) {
  Json specials = Json::object();
  const auto part = [&](const std::string& token, int type) {
    const auto id = vocabulary.find(token);
    if (id == vocabulary.end())
      fail_format(what, fmt::format("token '{}' stands around texts, but is not in the vocabulary", token));
    specials[token] = {{"id", token}, {"ids", {*id}}, {"tokens", {token}}};
    return Json{{"SpecialToken", {{"id", token}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  Json single = Json::array();
  Json pair = Json::array();
  for (const auto& token : around.before) single.push_back(part(token, 0));
  single.push_back(text("A", 0));
  pair = single;
  for (const auto& token : around.after) single.push_back(part(token, 0));
  for (const auto& token : around.between) pair.push_back(part(token, 0));
  pair.push_back(text("B", around.second_type));
  for (const auto& token : around.after) pair.push_back(part(token, around.second_type));
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

Json from_vocab_txt(std::string_view text, const Config& config, const std::string& what) {
  check_utf8(text, what);
  Json vocabulary = Json::object();
  std::int64_t id = 0;
  for (const std::string_view line : lines_of(text)) vocabulary[std::string(line)] = id++;
  if (vocabulary.size() != static_cast<std::size_t>(id)) {
    // Of equal lines the last counts, and the others' ids have no token.
    if (vocabulary.empty()) fail_format(what, "has no token");
  }
  const bool lower = flag(config, "do_lower_case", true);
  Json strip = nullptr;
  if (config.tokenizer_config.is_object() && config.tokenizer_config.contains("strip_accents") &&
      config.tokenizer_config["strip_accents"].is_boolean()) {
    strip = config.tokenizer_config["strip_accents"];
  }
  const std::string unknown = special_token(config, "unk_token").value_or("[UNK]");
  const std::string separator = special_token(config, "sep_token").value_or("[SEP]");
  const std::string cls = special_token(config, "cls_token").value_or("[CLS]");
  Json added = Json::array();
  for (const std::string& token : {special_token(config, "pad_token").value_or("[PAD]"), unknown, cls,
                                   separator, special_token(config, "mask_token").value_or("[MASK]")}) {
    const auto found = vocabulary.find(token);
    if (found != vocabulary.end()) added.push_back(added_token(found->get<std::int64_t>(), token, true));
  }
  if (!vocabulary.contains(unknown))
    fail_format(what, fmt::format("has no token '{}' for what is unknown", unknown));
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", flag(config, "tokenize_chinese_chars", true)},
            {"strip_accents", strip},
            {"lowercase", lower}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor", template_processing({{cls}, {separator}, {separator}, 1}, vocabulary, what)},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", unknown},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", vocabulary}}}};
}

Json from_bpe_files(std::string_view vocabulary_text, std::string_view merges_text, const Config& config,
                    const std::string& what) {
  check_utf8(merges_text, what);
  const Json vocabulary = parse_json(vocabulary_text, what);
  Json merges = Json::array();
  for (const std::string_view line : lines_of(merges_text)) {
    if (line.starts_with("#version") || line.empty()) continue;
    merges.push_back(std::string(line));
  }
  const bool prefix = flag(config, "add_prefix_space", false);
  Json added = Json::array();
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token"}) {
    const auto token = special_token(config, name);
    if (!token || !vocabulary.is_object() || !vocabulary.contains(*token)) continue;
    Json entry = added_token(integer_of(vocabulary[*token], what), *token, true);
    entry["lstrip"] = std::string_view(name) == "mask_token";
    const bool twice = std::any_of(added.begin(), added.end(),
                                   [&](const Json& other) { return other["content"] == *token; });
    if (!twice) added.push_back(entry);
  }
  Json processor = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  const auto cls = special_token(config, "cls_token");
  const auto separator = special_token(config, "sep_token");
  if (cls && separator && vocabulary.is_object() && vocabulary.contains(*cls) &&
      vocabulary.contains(*separator)) {
    processor = {{"type", "RobertaProcessing"},
                 {"sep", {*separator, vocabulary[*separator]}},
                 {"cls", {*cls, vocabulary[*cls]}},
                 {"trim_offsets", true},
                 {"add_prefix_space", prefix}};
  }
  return {
      {"version", "1.0"},
      {"added_tokens", added},
      {"pre_tokenizer",
       {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", true}}},
      {"post_processor", processor},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}};
}

}  // namespace headway::inline v1::text::hub
