#include <headway/inspect/page.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <headway/core/factory.h>

namespace headway::inspect {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Rows of [heads, queries, keys] that sum to 1 and are all different.
Tensor map_of(std::int64_t heads, std::int64_t queries, std::int64_t keys, float tilt) {
  const Tensor map = zeros({heads, queries, keys});
  for (std::int64_t r = 0; r < heads * queries; ++r) {
    double total = 0;
    for (std::int64_t k = 0; k < keys; ++k)
      total += std::exp(std::sin(static_cast<double>(r * keys + k)) * static_cast<double>(tilt));
    for (std::int64_t k = 0; k < keys; ++k) {
      map.data<float>()[r * keys + k] = static_cast<float>(
          std::exp(std::sin(static_cast<double>(r * keys + k)) * static_cast<double>(tilt)) / total);
    }
  }
  return map;
}

PageExample example() {
  return {.source = "Delete the row.",
          .translation = "Die Zeile löschen.",
          .source_tokens = {"▁Delete", "▁the", "▁row", ".", "</s>"},
          .target_tokens = {"<s>", "▁Die", "▁Zeile", "▁löschen", "."},
          .target_written = {"▁Die", "▁Zeile", "▁löschen", ".", "</s>"},
          .maps = {.encoder_self = {map_of(2, 5, 5, 1), map_of(2, 5, 5, 2)},
                   .decoder_self = {map_of(2, 5, 5, 3), map_of(2, 5, 5, 4)},
                   .cross = {map_of(2, 5, 5, 5), map_of(2, 5, 5, 8)}}};
}

nlohmann::json data_in(const std::string& page) {
  const std::string opening = "<script type=\"application/json\" id=\"data\">";
  const std::size_t begin = page.find(opening) + opening.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

std::vector<unsigned> bytes_of(const std::string& base64) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<unsigned> out;
  unsigned bits = 0, held = 0;
  for (const char c : base64) {
    if (c == '=') break;
    held = held << 6 | static_cast<unsigned>(alphabet.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out.push_back(held >> bits & 255u);
  }
  return out;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

TEST(HeadsPage, holds_every_weight_within_the_stated_error) {
  const PageExample pair = example();
  const nlohmann::json data = data_in(heads_page({pair}));
  ASSERT_EQ(data["examples"].size(), 1u);
  const auto compare = [&](const char* kind, const std::vector<Tensor>& maps) {
    const auto& layers = data["examples"][0][kind];
    ASSERT_EQ(layers.size(), maps.size());
    for (std::size_t l = 0; l < maps.size(); ++l) {
      const std::vector<float> weights = maps[l].to_vector<float>();
      std::vector<unsigned> bytes;
      for (const auto& head : layers[l]) {
        const auto part = bytes_of(head.get<std::string>());
        bytes.insert(bytes.end(), part.begin(), part.end());
      }
      ASSERT_EQ(bytes.size(), weights.size());
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const double shown = std::pow(bytes[i] / 255.0, 2);
        EXPECT_NEAR(shown, weights[i], 0.004 * std::sqrt(weights[i]) + 4e-6)
            << kind << " layer " << l << " element " << i;
      }
    }
  };
  compare("cross", pair.maps.cross);
  compare("encoder", pair.maps.encoder_self);
  compare("decoder", pair.maps.decoder_self);
}

TEST(HeadsPage, names_every_token_of_every_sentence) {
  PageExample second = example();
  second.source = "Another one.";
  const nlohmann::json data = data_in(heads_page({example(), second}, {.layer = 1, .head = 0}));
  EXPECT_EQ(data["layer"], 1);
  EXPECT_EQ(data["head"], 0);
  ASSERT_EQ(data["examples"].size(), 2u);
  EXPECT_EQ(data["examples"][1]["source"], "Another one.");
  EXPECT_EQ(data["examples"][0]["sourceTokens"].get<std::vector<std::string>>(), example().source_tokens);
  EXPECT_EQ(data["examples"][0]["targetTokens"].get<std::vector<std::string>>(), example().target_tokens);
  EXPECT_EQ(data["examples"][0]["written"].get<std::vector<std::string>>(), example().target_written);
}

TEST(HeadsPage, stands_alone_and_closes_what_it_opens) {
  const std::string page = heads_page({example()}, {.title = "T", .subtitle = "S"});
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(page, Not(HasSubstr(" src=")));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
  for (const std::string tag :
       {"html", "head", "body", "style", "main", "section", "nav", "header", "table", "select"}) {
    EXPECT_EQ(count(page, "<" + tag + ">") + count(page, "<" + tag + " "), 1 + (tag == "section" ? 1u : 0u))
        << tag;
    EXPECT_EQ(count(page, "</" + tag + ">"), 1 + (tag == "section" ? 1u : 0u)) << tag;
  }
  EXPECT_EQ(count(page, "<script"), 2u);
  EXPECT_EQ(count(page, "</script>"), 2u);
}

TEST(HeadsPage, text_cannot_leave_its_place) {
  PageExample pair = example();
  pair.source = "</script><script>alert(1)</script><!-- \" ' & \\ \n \u2028";
  pair.source_tokens[0] = "<img onerror=x>";
  const std::string page = heads_page({pair}, {.title = "<b>&\"", .subtitle = "a < b"});
  EXPECT_EQ(count(page, "</script>"), 2u);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, Not(HasSubstr("<!-- ")));
  EXPECT_THAT(page, HasSubstr("<title>&lt;b&gt;&amp;&quot;</title>"));
  EXPECT_THAT(page, HasSubstr("a &lt; b"));
  const nlohmann::json data = data_in(page);
  EXPECT_EQ(data["examples"][0]["source"], pair.source);
  EXPECT_EQ(data["examples"][0]["sourceTokens"][0], "<img onerror=x>");
}

TEST(HeadsPage, invalid_utf8_is_replaced) {
  PageExample pair = example();
  pair.source_tokens[1] = "\xC3";
  EXPECT_EQ(data_in(heads_page({pair}))["examples"][0]["sourceTokens"][1], "\uFFFD");
}

TEST(HeadsPage, maps_must_fit_the_tokens) {
  PageExample pair = example();
  pair.source_tokens.pop_back();
  try {
    heads_page({pair});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::shape);
    EXPECT_STREQ(error.what(),
                 "heads_page: cross of layer 0 is float32 [2, 5, 5]; want [H, 5, 4], one row and column for "
                 "each token");
  }
  pair = example();
  pair.target_written.pop_back();
  EXPECT_THROW(heads_page({pair}), Error);
  EXPECT_THROW(heads_page({}), Error);
}

TEST(HeadsPage, is_written_whole_or_not_at_all) {
  const auto folder = std::filesystem::temp_directory_path() / ("headway_page_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const auto path = folder / "heads.html";
  write_heads_page(path, {example()});
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), heads_page({example()}));
  PageExample wrong = example();
  wrong.maps.cross.pop_back();
  wrong.source_tokens.clear();
  EXPECT_THROW(write_heads_page(path, {wrong}), Error);
  std::stringstream again;
  again << std::ifstream(path).rdbuf();
  EXPECT_EQ(again.str(), text.str());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace headway::inspect
