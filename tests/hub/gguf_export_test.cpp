#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include <headway/autograd/tape.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/hub/model.h>

#include "io/temporary.h"

namespace headway {
namespace {

using hub::HubModel;
using nlohmann::json;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

const fs::path kFamilies = fs::path(HEADWAY_SOURCE_DIR) / "tests" / "golden" / "families";

std::vector<float> logits_of(const HubModel& model) {
  const NoGrad no_grad;
  const models::PackedBatch batch = models::pack({{5, 9, 2, 17, 11, 3}, {7, 8}});
  models::LanguageModel& lm = *model.language_model();
  return lm.logits(lm.hidden(batch)).to_vector<float>();
}

// A golden model, with other fields in its configuration.
fs::path model_of(const fs::path& folder, const std::string& family, const json& changes) {
  const fs::path out = folder / family;
  fs::copy(kFamilies / family, out);
  json config;
  std::ifstream(out / "config.json") >> config;
  config.update(changes);
  std::ofstream(out / "config.json") << config;
  return out;
}

struct Decoder {
  std::string family;
  json changes = json::object();
  bool rounded = false;  // numbers that the file has in float32
};

class GgufExport : public ::testing::TestWithParam<Decoder> {
 protected:
  test::TemporaryFolder folder_;
};

TEST_P(GgufExport, float32_comes_back) {
  const HubModel model =
      HubModel::load(model_of(folder_.path(), GetParam().family, GetParam().changes).string());
  const fs::path file = folder_ / "model.gguf";
  model.save_gguf(file, io::GgufEncoding::f32);
  const HubModel again = HubModel::load(file.string());
  const std::vector<float> want = logits_of(model), got = logits_of(again);
  ASSERT_EQ(got.size(), want.size());
  if (GetParam().rounded) {
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 2e-5) << i;
  } else {
    EXPECT_EQ(got, want);
  }
  // And from there to a second file.
  again.save_gguf(folder_ / "twice.gguf", io::GgufEncoding::f32);
  EXPECT_EQ(logits_of(HubModel::load((folder_ / "twice.gguf").string())), got);
}

const json kLlama3Rope = {{"rope_scaling",
                           {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 32}}}};

INSTANTIATE_TEST_SUITE_P(
    Decoders, GgufExport,
    testing::Values(Decoder{"llama"}, Decoder{"llama", kLlama3Rope, true}, Decoder{"llama-linear"},
                    Decoder{"llama-yarn"}, Decoder{"mistral"},
                    Decoder{"qwen2", {{"use_sliding_window", false}, {"layer_types", nullptr}}},
                    Decoder{"qwen3"},
                    // The norms' 1 + weight, and the scale.
                    Decoder{"gemma2", {{"query_pre_attn_scalar", 6}}, true}, Decoder{"olmo2"}),
    [](const auto& of) {
      std::string name = of.param.family + (of.param.family == "llama" && of.param.rounded ? "_scaled" : "");
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

std::string refusal(const fs::path& folder, const fs::path& file) {
  try {
    HubModel::load(folder.string()).save_gguf(file, io::GgufEncoding::f32);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(GgufExportRefuses, what_the_format_cannot_say_and_leaves_nothing_behind) {
  const test::TemporaryFolder folder;
  const fs::path file = folder / "model.gguf";
  EXPECT_THAT(refusal(kFamilies / "gpt2", file), HasSubstr("want a decoder that is built like Llama"));
  EXPECT_THAT(refusal(kFamilies / "bert-masked", file), HasSubstr("want a decoder that is built like Llama"));
  EXPECT_THAT(refusal(kFamilies / "llama-llama3", file), HasSubstr("no name for tensor model.layers.0.mlp."));
  EXPECT_THAT(refusal(kFamilies / "qwen2", file), HasSubstr("GGUF cannot say the window of layer 1"));
  EXPECT_THAT(refusal(kFamilies / "gemma2", file), HasSubstr("GGUF cannot say the scale of attention"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(GgufFiles, a_model_without_heads_is_an_error) {
  const test::TemporaryFolder folder;
  const json scale = {{"query_pre_attn_scalar", 6}};
  HubModel::load(model_of(folder.path(), "gemma2", scale).string())
      .save_gguf(folder / "whole.gguf", io::GgufEncoding::f32);
  io::GgufMetadata metadata = io::open_gguf(folder / "whole.gguf").metadata;
  metadata.values["gemma2.attention.head_count"] = std::uint32_t{0};
  metadata.values.erase("gemma2.attention.key_length");
  io::save_gguf(folder / "broken.gguf", metadata, {{"token_embd.weight", zeros({4, 4})}});
  EXPECT_THROW(HubModel::load((folder / "broken.gguf").string()), Error);
}

}  // namespace
}  // namespace headway
