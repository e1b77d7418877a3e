#include <headway/train/translation_config.h>

#include <gmock/gmock.h>

#include <limits>
#include <type_traits>
#include <vector>

#include <headway/core/error.h>
#include <headway/train/fingerprint.h>

#include "train/config_fields.h"

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

// Every number, by the list of fields itself: a new one without a range turns this red.
TEST(TranslationConfig, numbers_out_of_their_range_are_refused_by_name) {
  const TranslationConfig good;
  EXPECT_NO_THROW(check(good));
  each_field(good, [&](const char*, const char* wanted_key, const auto& field, const char*) {
    using T = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      std::vector<T> bad;
      if constexpr (std::is_floating_point_v<T>)
        bad = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(), -1};
      else if constexpr (std::is_signed_v<T>)
        bad = {-1, std::numeric_limits<T>::max()};
      for (const T value : bad) {
        TranslationConfig config;
        each_field(config, [&](const char*, const char* key, auto& each, const char*) {
          if constexpr (std::is_same_v<std::remove_cvref_t<decltype(each)>, T>)
            each = std::string_view(key) == wanted_key ? value : each;
        });
        try {
          check(config);
          ADD_FAILURE() << wanted_key << " took " << value;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::value);
          EXPECT_THAT(error.what(), HasSubstr(std::string("train: ") + wanted_key + " is "));
        }
      }
    }
  });
  TranslationConfig both;
  both.training.steps = 1;
  both.training.minutes = 1;
  EXPECT_THROW(check(both), Error);
}

TEST(Fingerprint, tells_one_item_more_and_other_items_from_the_same) {
  Fingerprints a, b;
  for (Fingerprints* sets : {&a, &b}) {
    (*sets)["train"].add("one");
    (*sets)["train"].add("two");
    (*sets)["valid"];
  }
  EXPECT_EQ(difference(a, b), "");
  EXPECT_EQ(difference(fingerprints_from_json(to_json(a), "it"), b), "");
  b["train"].add("");
  EXPECT_EQ(difference(a, b), "train has 3 items, recorded are 2");
  Fingerprints moved;
  moved["train"].add("onet");  // the same bytes, cut elsewhere
  moved["train"].add("wo");
  moved["valid"];
  EXPECT_EQ(difference(a, moved), "train has other items than the 2 recorded");
  EXPECT_THROW(fingerprints_from_json("{\"format_version\": 1, \"sets\": {\"a\": {}}}", "it"), Error);
}

}  // namespace
}  // namespace headway::train
