#include <headway/train/translation_config.h>

#include <gmock/gmock.h>

#include <headway/core/error.h>

namespace headway::train {
namespace {

using ::testing::HasSubstr;

std::string message_for(const std::string& text) {
  try {
    translation_config_from_json(text, "it.json", {});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::format);
    return error.what();
  }
  return "no error";
}

TEST(TranslationConfig, comes_back_from_its_json) {
  TranslationConfig config;
  config.model.source_vocab = 11;
  config.model.model_dim = 48;
  config.model.norm = nn::NormPlacement::post;
  config.model.dropout = 0.1234567890123;
  const std::string text = to_json(config);
  EXPECT_EQ(to_json(translation_config_from_json(text, "it.json", {})), text);
}

TEST(TranslationConfig, what_a_file_leaves_out_keeps_its_default) {
  TranslationConfig defaults;
  defaults.model.model_dim = 48;
  const auto config =
      translation_config_from_json(R"({"format_version": 1, "model": {"heads": 3}})", "it", defaults);
  EXPECT_EQ(config.model.model_dim, 48);
  EXPECT_EQ(config.model.heads, 3);
}

TEST(TranslationConfig, wrong_entries_are_errors_that_say_where) {
  EXPECT_THAT(message_for(R"({"format_version": 1, "modle": {}})"),
              HasSubstr("it.json has the unknown key \"modle\""));
  EXPECT_THAT(message_for(R"({"format_version": 1, "model": {"dims": 3}})"),
              HasSubstr("it.json: model has the unknown key \"dims\""));
  EXPECT_THAT(message_for(R"({"format_version": 1, "model": {"dim": "wide"}})"),
              HasSubstr("it.json: model has string for \"dim\"; want an integer"));
  EXPECT_THAT(message_for(R"({"format_version": 1, "model": {"norm": "before"}})"),
              HasSubstr("want one of pre, post"));
  EXPECT_THAT(message_for(R"({"format_version": 1, "model": 3})"), HasSubstr("want an object"));
  EXPECT_THAT(message_for(R"({"format_version": 99})"), HasSubstr("format_version 99"));
  EXPECT_THAT(message_for("{}"), HasSubstr("no \"format_version\""));
  EXPECT_THAT(message_for("[]"), HasSubstr("want an object"));
}

}  // namespace
}  // namespace headway::train
