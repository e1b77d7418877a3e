#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <headway/core/parallel.h>
#include <headway/text/hub_tokenizer.h>

#include "text/expect_error.h"
#include "text/temporary_folder.h"

namespace headway::text {
namespace {

using nlohmann::json;

const json& golden() {
  static const json all = json::parse(std::ifstream(HEADWAY_SOURCE_DIR "/tests/golden/hub_tokenizers.json"));
  return all;
}

std::vector<std::size_t> flat(const std::vector<Encoding::Range>& ranges) {
  std::vector<std::size_t> out;
  for (const auto& range : ranges) out.insert(out.end(), {range.begin, range.end});
  return out;
}

// Expectations come from PyPI's `tokenizers` (tests/golden/hub_tokenizers.py).
TEST(HubTokenizer, ids_types_offsets_and_text_are_those_of_the_reference_for_every_kind) {
  ASSERT_GE(golden().size(), 15U);
  for (const json& kind : golden()) {
    const auto tokenizer = HubTokenizer::from_json(kind["tokenizer"].dump());
    for (const json& line : kind["cases"]) {
      SCOPED_TRACE(kind["name"].get<std::string>() + ": " + line["text"].dump());
      const Encoding encoding = tokenizer.encode(line["text"].get<std::string>());
      EXPECT_EQ(encoding.ids, line["ids"].get<std::vector<std::int32_t>>());
      EXPECT_EQ(encoding.type_ids, line["types"].get<std::vector<std::int32_t>>());
      EXPECT_EQ(flat(encoding.offsets), line["offsets"].get<std::vector<std::size_t>>());
      EXPECT_EQ(tokenizer.decode(encoding.ids), line["decoded"].get<std::string>());
    }
  }
}

TEST(HubTokenizer, streamed_pieces_joined_are_the_decoded_text) {
  std::mt19937 random(1);
  for (const json& kind : golden()) {
    const auto tokenizer = HubTokenizer::from_json(kind["tokenizer"].dump());
    std::uniform_int_distribution<std::int32_t> any(0, tokenizer.vocab_size() + 1);
    for (int round = 0; round < 40; ++round) {
      std::vector<std::int32_t> ids;
      if (round < static_cast<int>(kind["cases"].size())) {
        ids = kind["cases"][static_cast<std::size_t>(round)]["ids"].get<std::vector<std::int32_t>>();
      } else {
        for (int i = 0; i < 30; ++i) ids.push_back(any(random));
      }
      for (const bool skip : {true, false}) {
        StreamDecoder stream(tokenizer, skip);
        std::string text;
        for (const std::int32_t id : ids) text += stream.push(id);
        text += stream.finish();
        EXPECT_EQ(text, tokenizer.decode(ids, skip)) << kind["name"] << " round " << round;
      }
    }
  }
}

TEST(HubTokenizer, batches_are_the_same_on_any_number_of_threads) {
  std::vector<std::string> texts;
  for (const json& line : golden()[0]["cases"]) texts.push_back(line["text"].get<std::string>());
  for (int i = 0; i < 5; ++i) texts.insert(texts.end(), texts.begin(), texts.begin() + 10);
  const auto tokenizer = HubTokenizer::from_json(golden()[0]["tokenizer"].dump());
  for (const int count : {1, 2, 3, 4, 7}) {
    set_threads(count);
    const auto batch = tokenizer.encode(texts);
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(batch[i].ids, tokenizer.encode(texts[i]).ids);
  }
  set_threads(2);
}

constexpr const char* kWords = R"({"added_tokens":[{"id":0,"content":"[C]","special":true}],
  "pre_tokenizer":{"type":"WhitespaceSplit"},
  "post_processor":{"type":"TemplateProcessing",
    "single":[{"SpecialToken":{"id":"[C]","type_id":0}},{"Sequence":{"id":"A"}}],
    "pair":[{"SpecialToken":{"id":"[C]","type_id":0}},{"Sequence":{"id":"A"}},{"Sequence":{"id":"B","type_id":1}}],
    "special_tokens":{"[C]":{"id":"[C]","ids":[0],"tokens":["[C]"]}}},
  "model":{"type":"WordLevel","unk_token":"u","vocab":{"[C]":0,"u":1,"a":2,"b":3,"c":4,"d":5}}})";

TEST(HubTokenizer, cuts_the_longer_text_first_and_counts_what_it_cut) {
  const auto tokenizer = HubTokenizer::from_json(kWords);
  EncodeOptions options;
  options.pair = "c d";
  options.max_length = 5;
  const Encoding encoding = tokenizer.encode("a b a b", options);
  EXPECT_EQ(encoding.ids, (std::vector<std::int32_t>{0, 2, 3, 4, 5}));
  EXPECT_EQ(encoding.type_ids, (std::vector<std::int32_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(encoding.truncated, 2U);
  EXPECT_TRUE(encoding.is_special(0));
  options.max_length = 1;
  EXPECT_EQ(tokenizer.encode("a b", options).ids, (std::vector<std::int32_t>{0}));
}

TEST(HubTokenizer, special_tokens_in_strangers_text_are_plain_text_when_asked) {
  const auto tokenizer = HubTokenizer::from_json(kWords);
  EncodeOptions options;
  options.add_special_tokens = false;
  EXPECT_EQ(tokenizer.encode("a [C] b", options).ids, (std::vector<std::int32_t>{2, 0, 3}));
  options.special_in_text = false;
  EXPECT_EQ(tokenizer.encode("x [C] b", options).ids.size(), 3U);
  EXPECT_EQ(tokenizer.encode("a[C]b", options).ids, (std::vector<std::int32_t>{1}));
}

TEST(HubTokenizer, names_what_it_does_not_understand) {
  const auto with = [](const std::string& section) {
    return R"({)" + section + R"(,"model":{"type":"WordLevel","vocab":{"<unk>":0}}})";
  };
  const auto load = [](const std::string& text) { return [text] { HubTokenizer::from_json(text); }; };
  expect_error(ErrorCode::unsupported, "'Rot13'", load(with(R"("normalizer":{"type":"Rot13"})")));
  expect_error(ErrorCode::unsupported, "'Whale'", load(with(R"("pre_tokenizer":{"type":"Whale"})")));
  expect_error(ErrorCode::unsupported, "'extra'", load(with(R"("extra":1)")));
  expect_error(ErrorCode::unsupported, "'deep'", load(with(R"("decoder":{"type":"Fuse","deep":1})")));
  expect_error(
      ErrorCode::unsupported, "POSIX",
      load(with(R"("normalizer":{"type":"Replace","pattern":{"Regex":"[[:alpha:]]"},"content":""})")));
  expect_error(ErrorCode::unsupported, "dropout",
               load(R"({"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}})"));
  expect_error(ErrorCode::format, "not in the vocabulary",
               load(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})"));
  expect_error(ErrorCode::format, "a.b",
               load(R"({"model":{"type":"WordLevel","vocab":{"a.b":4000000000}}})"));
  GgufVocabulary gguf;
  gguf.model = "gpt2";
  gguf.pre = "unheard-of";
  gguf.tokens = {"a"};
  expect_error(ErrorCode::unsupported, "unheard-of", [&] { HubTokenizer::from_gguf(gguf); });
}

TEST(HubTokenizer, folders_come_back_byte_for_byte) {
  const TemporaryFolder folder;
  folder.write("in/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhead\n##s\n");
  folder.write("in/tokenizer_config.json",
               R"({"do_lower_case": true, "model_max_length": 512, "cls_token": "[CLS]"})");
  const auto tokenizer = HubTokenizer::load(folder / "in");
  EXPECT_EQ(tokenizer.encode("Heads").ids, (std::vector<std::int32_t>{2, 5, 6, 3}));
  EXPECT_EQ(tokenizer.special_tokens().cls, 2);
  EXPECT_EQ(tokenizer.model_max_length(), 512);
  tokenizer.save(folder / "out");
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) {
    EXPECT_EQ(TemporaryFolder::read(folder / "out" / name), TemporaryFolder::read(folder / "in" / name));
  }
}

// Rounds of damage: HEADWAY_TEST_ROUNDS, or a few thousand.
TEST(HubTokenizer, damaged_files_are_errors_or_tokenizers_that_work) {
  const char* asked = std::getenv("HEADWAY_TEST_ROUNDS");
  const int rounds = asked == nullptr ? 3000 : std::atoi(asked);
  std::mt19937 random(7);
  int errors = 0;
  std::vector<std::string> files;
  for (const json& kind : golden()) {
    std::string text = kind["tokenizer"].dump();
    if (text.size() < 60000) files.push_back(std::move(text));
  }
  ASSERT_FALSE(files.empty());
  for (int round = 0; round < rounds; ++round) {
    std::string text = files[random() % files.size()];
    for (unsigned i = 0; i < 1 + random() % 4 && !text.empty(); ++i) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 30));
          break;
        default:
          text.resize(at + 1);
          break;
      }
    }
    try {
      const auto tokenizer = HubTokenizer::from_json(text);
      const Encoding encoding = tokenizer.encode("Zwei Heads 12 \u4e2d [x] \U0001F44D");
      tokenizer.decode(encoding.ids);
    } catch (const Error&) {
      ++errors;
    }
  }
  EXPECT_GT(errors, rounds / 2);
}

}  // namespace
}  // namespace headway::text
