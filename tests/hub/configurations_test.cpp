// Configurations that say the same in other words, and files that hold more than a model needs.
#include <headway/hub/model.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include <nlohmann/json.hpp>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/io/model_files.h>
#include <headway/models/generation.h>

#include "io/temporary.h"
#include "support/compare.h"

namespace headway {
namespace {

using hub::HubModel;
using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kFolder = fs::path(HEADWAY_SOURCE_DIR) / "tests" / "golden" / "families";

const models::PackedBatch& batch() {
  static const models::PackedBatch of = models::pack({{5, 17, 29, 8, 30, 21, 9, 23, 12}, {26, 7, 19}});
  return of;
}

// A golden folder whose configuration has been changed.
class Changed {
 public:
  Changed(const std::string& name, const std::function<void(json&)>& change) {
    fs::copy(kFolder / name, path());
    json config;
    std::ifstream(path() / "config.json") >> config;
    change(config);
    std::ofstream(path() / "config.json") << config;
  }
  fs::path path() const { return temporary_.path() / "model"; }
  HubModel load() const { return HubModel::load(path().string()); }

 private:
  test::TemporaryFolder temporary_;
};

void expect_same(const HubModel& a, const HubModel& b) {
  const std::vector<Tensor> x = a.hidden_states(batch()), y = b.hidden_states(batch());
  ASSERT_EQ(x.size(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    testing::expect_bitwise_equal(x[i], y[i], "hidden." + std::to_string(i));
}

TEST(Configuration, gemma3_has_the_base_of_its_global_layers_under_its_older_name_too) {
  const Changed now("gemma3", [](json& c) {
    c["rope_parameters"]["full_attention"] = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 50.0}};
    c["rope_parameters"]["sliding_attention"] = {{"rope_type", "default"}, {"rope_theta", 20.0}};
  });
  const Changed before("gemma3", [](json& c) {
    c.erase("rope_parameters");
    c["rope_theta"] = 50.0;
    c["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
    c["rope_local_base_freq"] = 20.0;
  });
  expect_same(now.load(), before.load());
}

TEST(Configuration, a_bare_gpt2_needs_no_head_whatever_tie_word_embeddings_says) {
  const Changed bare("gpt2", [](json& c) {
    c["architectures"] = {"GPT2Model"};
    c["tie_word_embeddings"] = false;
  });
  expect_same(bare.load(), HubModel::load((kFolder / "gpt2").string()));
}

TEST(Configuration, a_gemma3_that_looks_both_ways_does_not_write) {
  const HubModel model = HubModel::load((kFolder / "gemma3-both-ways").string());
  const NoGrad no_grad;
  models::DecodingState state = model.language_model()->start();
  const std::vector<std::int32_t> tokens{5, 17};
  const std::int64_t sequence = state.add();
  try {
    model.language_model()->step(state, {{.sequence = sequence, .tokens = tokens}});
    FAIL() << "wrote a token";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("use_bidirectional_attention"), std::string::npos);
  }
}

TEST(Export, what_is_tied_is_written_as_it_is_now_and_the_rest_as_it_came) {
  const fs::path golden = kFolder / "bert-masked";
  const test::TemporaryFolder temporary;
  const fs::path in = temporary.path() / "in", out = temporary.path() / "out";
  fs::create_directory(in);
  fs::copy(golden / "config.json", in);
  std::vector<io::OutputTensor> tensors;
  const io::StoredTensors stored = io::open_model_files(golden);
  for (const io::StoredTensor& tensor : stored.tensors)
    tensors.push_back({tensor.name, io::as_float32(tensor)});
  const std::string bias = "cls.predictions.bias";
  tensors.push_back({"cls.predictions.decoder.bias", io::as_float32(stored.at(bias))});
  tensors.push_back({"cls.seq_relationship.bias", from(std::vector<float>{3, 4}, {2})});
  tensors.push_back(
      {"bert.embeddings.position_ids", from(std::vector<std::int64_t>{0, 1, 2}, {1, 3}), DType::int64});
  io::save_model_files(in, tensors);

  const HubModel model = HubModel::load(in.string());
  for (const nn::NamedParameter& parameter : model.module().parameters()) {
    if (parameter.name != "head.output.bias") continue;
    parameter.tensor.set_elements(full(parameter.tensor.shape(), 7.0));
  }
  model.save(out);
  const io::StoredTensors written = io::open_model_files(out);
  ASSERT_EQ(written.tensors.size(), tensors.size());
  const Tensor sevens = full(stored.at(bias).shape, 7.0);
  testing::expect_bitwise_equal(io::as_float32(written.at(bias)), sevens, bias);
  testing::expect_bitwise_equal(io::as_float32(written.at("cls.predictions.decoder.bias")), sevens, "tied");
  testing::expect_bitwise_equal(io::as_float32(written.at("cls.seq_relationship.bias")),
                                from(std::vector<float>{3, 4}, {2}), "not used");
  testing::expect_bitwise_equal(io::as(written.at("bert.embeddings.position_ids"), DType::int64),
                                from(std::vector<std::int64_t>{0, 1, 2}, {1, 3}), "ids");
}

}  // namespace
}  // namespace headway
