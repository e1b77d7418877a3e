#include <headway/jobs/translator.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/io/safetensors.h>

#include "io/temporary.h"

namespace headway {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

const fs::path kFamilies = fs::path(HEADWAY_SOURCE_DIR) / "tests" / "golden" / "families";

json read(const fs::path& file) {
  json out;
  std::ifstream(file) >> out;
  return out;
}

std::string words(const std::vector<std::int32_t>& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += (out.empty() ? "w" : " w") + std::to_string(id);
  return out;
}

// A golden model whose token i is the word "wi"; 0 and 1, its padding and end, are no words.
class Translating : public ::testing::Test {
 protected:
  fs::path model(const std::string& family, const json& further_config = json::object()) {
    const fs::path folder = folder_.path() / family;
    fs::remove_all(folder);
    fs::copy(kFamilies / family, folder);
    json config = read(folder / "config.json");
    config.update(further_config);
    std::ofstream(folder / "config.json") << config;
    json tokenizer = {{"version", "1.0"},
                      {"truncation", nullptr},
                      {"padding", nullptr},
                      {"normalizer", nullptr},
                      {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
                      {"post_processor", nullptr},
                      {"decoder", nullptr},
                      {"model",
                       {{"type", "WordPiece"},
                        {"unk_token", "w2"},
                        {"continuing_subword_prefix", "##"},
                        {"max_input_chars_per_word", 100}}}};
    const auto name = [](int id) { return id < 2 ? fmt::format("<{}>", id) : fmt::format("w{}", id); };
    for (int id = 0; id < config["vocab_size"]; ++id) tokenizer["model"]["vocab"][name(id)] = id;
    for (const int id : {0, 1}) {
      tokenizer["added_tokens"].push_back({{"id", id},
                                           {"content", name(id)},
                                           {"single_word", false},
                                           {"lstrip", false},
                                           {"rstrip", false},
                                           {"normalized", false},
                                           {"special", true}});
    }
    std::ofstream(folder / "tokenizer.json") << tokenizer;
    return folder;
  }

  static std::string message_of(const fs::path& folder, const std::string& task) {
    try {
      const jobs::Translator translator(folder.string(), task);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  test::TemporaryFolder folder_;
};

const json kTasks = {
    {"task_specific_params",
     {{"translation_en_to_de", {{"prefix", "w26 w7 "}, {"num_beams", 3}, {"max_length", 12}}},
      {"summarization", {{"prefix", "w4 "}}}}}};

TEST_F(Translating, writes_what_transformers_wrote) {
  for (const std::string family : {"t5", "t5-gated", "marian"}) {
    const fs::path folder = model(family, family == "marian" ? json::object() : kTasks);
    const jobs::Translator translator(folder.string(), family == "marian" ? "" : "translation_en_to_de");
    const auto prompt = read(folder / "expected.json")["prompt"].get<std::vector<std::int32_t>>();
    std::string sentence = words(prompt);
    if (family != "marian") {  // the task's prefix brings the first two words
      ASSERT_EQ(sentence.substr(0, 7), "w26 w7 ");
      sentence = sentence.substr(7);
    }
    const std::vector<std::int32_t> ids = translator.source_ids(sentence);
    EXPECT_EQ(ids, prompt) << family;

    std::vector<std::int32_t> written;
    for (const io::NamedTensor& entry : io::load_safetensors(folder / "expected.safetensors").tensors) {
      if (entry.name == "written") written = entry.tensor.to_vector<std::int32_t>();
    }
    ASSERT_FALSE(written.empty());
    models::DecodingOptions greedy = translator.defaults();
    greedy.beam_size = 1;
    greedy.max_length = static_cast<std::int64_t>(written.size());
    written.erase(std::find(written.begin(), written.end(), greedy.eos), written.end());
    std::erase(written, 0);  // a special token has no text
    const auto found = translator.translations({ids, {}}, greedy);
    EXPECT_EQ(found[0].at(0).text, words(written)) << family;
    EXPECT_LT(found[0].at(0).log_probability, 0);
    EXPECT_EQ(found[1].at(0).text, "");
  }
}

TEST_F(Translating, defaults_are_those_of_the_files) {
  const jobs::Translator by_task(model("t5", kTasks).string(), "translation_en_to_de");
  EXPECT_EQ(by_task.defaults().beam_size, 3);
  EXPECT_EQ(by_task.defaults().max_length, 11);  // theirs counts the start token
  EXPECT_EQ(by_task.defaults().bos, 0);
  EXPECT_EQ(by_task.defaults().eos, 1);
  EXPECT_THAT(jobs::Translator::tasks(by_task.model()),
              ::testing::ElementsAre("summarization", "translation_en_to_de"));

  const fs::path old = model("t5", {{"num_beams", 6}, {"length_penalty", 0.5}});
  EXPECT_EQ(jobs::Translator(old.string()).defaults().beam_size,
            4);  // generation_config.json says nothing
  fs::remove(old / "generation_config.json");
  EXPECT_EQ(jobs::Translator(old.string()).defaults().beam_size, 6);
  EXPECT_EQ(jobs::Translator(old.string()).defaults().length_penalty, 0.5);
}

TEST_F(Translating, beams_find_what_is_at_least_as_probable) {
  const jobs::Translator translator(model("marian").string());
  const auto ids = translator.source_ids("w26 w7 w19 w14 w3");
  models::DecodingOptions options = translator.defaults();
  options.length_penalty = 0;
  options.max_length = 8;
  options.beam_size = 1;
  const double greedy = translator.translations({ids}, options)[0][0].log_probability;
  options.beam_size = 8;
  EXPECT_GE(translator.translations({ids}, options)[0][0].log_probability,
            greedy - 1e-4);  // two roundings of the same sum
}

TEST_F(Translating, a_blank_sentence_is_an_empty_translation_whatever_the_prefix) {
  const jobs::Translator translator(model("t5", kTasks).string(), "translation_en_to_de");
  EXPECT_THAT(translator.translate({"", "  "}), ::testing::ElementsAre("", ""));
}

TEST_F(Translating, what_does_not_fit_is_named) {
  EXPECT_THAT(message_of(model("t5", kTasks), ""),
              HasSubstr("translates by task; want one of translation_en_to_de"));
  EXPECT_THAT(message_of(model("t5", kTasks), "translation_en_to_fr"),
              HasSubstr("no task \"translation_en_to_fr\"; want translation_en_to_de"));
  EXPECT_THAT(message_of(model("marian"), "x"), HasSubstr("no task \"x\"; want no task"));
  EXPECT_THAT(message_of(model("gpt2"), ""), HasSubstr("translates nothing; want an encoder–decoder"));
  EXPECT_THAT(message_of(model("marian", {{"eos_token_id", json::array({1, 3})}}), ""),
              HasSubstr("no error"));
  const fs::path two_ends = model("marian", {{"eos_token_id", json::array({1, 3})}});
  fs::remove(two_ends / "generation_config.json");
  EXPECT_THAT(message_of(two_ends, ""), HasSubstr("2 end tokens; want one"));
  const fs::path forced = model("marian", {{"forced_bos_token_id", 5}});
  fs::remove(forced / "generation_config.json");
  EXPECT_THAT(message_of(forced, ""), HasSubstr("forced_bos_token_id is 5"));
  const jobs::Translator translator(model("marian").string());
  EXPECT_THROW(translator.source_ids("\xff"), Error);
}

}  // namespace
}  // namespace headway
