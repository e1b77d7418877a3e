#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/text/hub_tokenizer.h>

namespace headway::text {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// The letter that stands for a byte in byte-level vocabularies (GPT-2's bytes_to_unicode), in UTF-8.
std::string letter(int byte) {
  int code = byte;
  const auto plain = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  if (!plain(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += plain(b) ? 0 : 1;
  }
  if (code < 128) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
}

const json kByteLevel = {
    {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};

json byte_level(const json& pre_tokenizer) {
  json vocabulary = json::object();
  for (int b = 0; b < 256; ++b) vocabulary[letter(b)] = b;
  vocabulary["he"] = 256;
  vocabulary["hel"] = 257;
  vocabulary[letter(' ') + "w"] = 258;
  return {
      {"version", "1.0"},
      {"added_tokens",
       {{{"id", 259},
         {"content", "<end>"},
         {"special", true},
         {"single_word", false},
         {"lstrip", false},
         {"rstrip", false},
         {"normalized", false}},
        {{"id", 261},
         {"content", "<tab>"},
         {"special", false},
         {"single_word", false},
         {"lstrip", false},
         {"rstrip", false},
         {"normalized", false}}}},
      {"pre_tokenizer", pre_tokenizer},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e", "he l", letter(' ') + " w"}}}}};
}

json sequence(const json& steps) { return {{"type", "Sequence"}, {"pretokenizers", steps}}; }
json split(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

std::string refusal(const json& tokenizer) {
  try {
    HubTokenizer::from_json(tokenizer.dump()).to_gguf();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ToGguf, a_byte_level_tokenizer_comes_back) {
  const HubTokenizer tokenizer = HubTokenizer::from_json(byte_level(kByteLevel).dump());
  const GgufVocabulary v = tokenizer.to_gguf(270);
  EXPECT_EQ(v.model, "gpt2");
  EXPECT_EQ(v.pre, "gpt-2");
  EXPECT_EQ(v.tokens.size(), 270U);
  EXPECT_EQ(v.tokens[257], "hel");
  EXPECT_EQ(v.types[257], 1);
  EXPECT_EQ(v.types[259], 3);  // special
  EXPECT_EQ(v.types[260], 5);  // nobody's
  EXPECT_EQ(v.types[261], 4);
  EXPECT_EQ(v.types[269], 5);
  EXPECT_THAT(v.merges, ::testing::ElementsAre("h e", "he l", letter(' ') + " w"));
  const HubTokenizer again = HubTokenizer::from_gguf(v);
  const std::string text = "hello wheel<end> 12 <tab>\n";
  EXPECT_EQ(again.encode(text).ids, tokenizer.encode(text).ids);
  EXPECT_EQ(again.to_gguf().tokens, v.tokens);
}

TEST(ToGguf, what_cuts_words_has_a_name) {
  json plain = kByteLevel;
  plain["use_regex"] = false;
  const auto pre = [](const json& pre_tokenizer) {
    return HubTokenizer::from_json(byte_level(pre_tokenizer).dump()).to_gguf().pre;
  };
  EXPECT_EQ(pre(sequence({{{"type", "Digits"}, {"individual_digits", true}}, kByteLevel})), "smollm");
  EXPECT_EQ(pre(sequence({split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?)"
                                R"([^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
                          plain})),
            "dbrx");
}

TEST(ToGguf, what_gguf_cannot_say_is_named) {
  json tokenizer = byte_level(kByteLevel);
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_THAT(refusal(tokenizer), HasSubstr("its normalizer is"));
  EXPECT_THAT(refusal(byte_level(sequence({split("x+"), kByteLevel}))), HasSubstr("no name is known"));
  json prefixed = kByteLevel;
  prefixed["add_prefix_space"] = true;
  EXPECT_THAT(refusal(byte_level(prefixed)), HasSubstr("its pre_tokenizer has"));
  const HubTokenizer whole = HubTokenizer::from_json(byte_level(kByteLevel).dump());
  EXPECT_THROW(whole.to_gguf(100), Error);
}

}  // namespace
}  // namespace headway::text
