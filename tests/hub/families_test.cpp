#include <headway/hub/model.h>

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/io/model_files.h>
#include <headway/io/safetensors.h>
#include <headway/nn/task_head.h>
#include <headway/ops/views.h>

#include "io/temporary.h"
#include "support/compare.h"

namespace headway {
namespace {

using hub::HubModel;
namespace fs = std::filesystem;

const fs::path kFolder = fs::path(HEADWAY_SOURCE_DIR) / "tests" / "golden" / "families";

// A float32 forward pass beside the same in float64: measured, no family's error exceeds 1e-6 of the rms; the
// bar of the families is 1e-5 (docs/families.md).
constexpr double kRelative = 1e-5;

// What transformers computed in float64 (tests/golden/families/README.md).
struct Expected {
  std::map<std::string, Tensor> tensors;
  nlohmann::json facts;

  explicit Expected(const fs::path& folder) {
    for (const io::NamedTensor& entry : io::load_safetensors(folder / "expected.safetensors").tensors)
      tensors[entry.name] = entry.tensor;
    std::ifstream(folder / "expected.json") >> facts;
  }
  bool has(const std::string& name) const { return tensors.contains(name); }
  const Tensor& at(const std::string& name) const { return tensors.at(name); }
  models::PackedBatch batch(const std::string& ids, const std::string& lengths) const {
    models::PackedBatch out{.ids = at(ids), .offsets = {0}};
    for (const auto& length : facts.at(lengths))
      out.offsets.push_back(out.offsets.back() + length.get<std::int64_t>());
    if (has("types")) out.types = at("types");
    return out;
  }
};

void expect_relative(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.shape().str(), want.shape().str()) << what;
  const std::vector<double> a = testing::values_of(got), b = testing::values_of(want);
  double square = 0, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    square += b[i] * b[i];
    worst = std::max(worst, std::abs(a[i] - b[i]));
    ASSERT_TRUE(std::isfinite(a[i])) << what;
  }
  const double rms = std::sqrt(square / static_cast<double>(b.size()));
  EXPECT_LE(worst, kRelative * rms) << what << ": " << worst / rms << " of the rms";
}

void expect_states(const std::vector<Tensor>& got, const Expected& want, const std::string& prefix) {
  ASSERT_TRUE(want.has(prefix + "hidden.0"));
  for (std::size_t i = 0; want.has(prefix + "hidden." + std::to_string(i)); ++i) {
    const std::string name = prefix + "hidden." + std::to_string(i);
    ASSERT_LT(i, got.size()) << name;
    expect_relative(got[i], want.at(name), name);
  }
}

// Tokens written one by one; where the two best logits of the reference lie closer than 1e-4 its choice is
// taken.
void expect_written(models::LanguageModel& model, const Expected& want, std::int64_t memory,
                    models::DecodingState& state, std::vector<std::int32_t> tokens) {
  const auto written = want.at("written").to_vector<std::int32_t>();
  const auto margins = want.at("written.margins").to_vector<float>();
  const std::string logits_name = want.has("written.logits") ? "written.logits" : "written.log_probabilities";
  const std::int64_t sequence = state.add(memory);
  for (std::size_t i = 0; i < written.size(); ++i) {
    const Tensor logits = model.step(state, {{.sequence = sequence, .tokens = tokens}});
    const auto row = static_cast<std::int64_t>(i);
    expect_relative(logits, slice(want.at(logits_name), 0, row, row + 1),
                    "logits of step " + std::to_string(i));
    const auto values = logits.to_vector<float>();
    const auto best =
        static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
    if (margins[i] >= 1e-4f) {
      EXPECT_EQ(best, written[i]) << "step " << i;
    }
    tokens = {written[i]};
  }
}

class Families : public ::testing::TestWithParam<std::string> {
 protected:
  const NoGrad no_grad_;
};

void check_language_model(const HubModel& model, const Expected& want) {
  models::LanguageModel& lm = *model.language_model();
  const models::PackedBatch batch = want.batch("ids", "lengths");
  const bool pair = want.has("decoder_ids");
  const models::PackedBatch targets =
      pair ? want.batch("decoder_ids", "decoder_lengths") : models::PackedBatch{};
  expect_states(model.hidden_states(batch), want, "");
  if (pair) expect_states(model.hidden_states(batch, targets), want, "decoder.");
  if (want.has("logits")) {
    const Tensor hidden = pair ? lm.hidden(targets, lm.encode(batch)) : lm.hidden(batch);
    if (want.at("logits").size(0) == hidden.size(0)) {
      expect_relative(lm.logits(hidden), want.at("logits"), "logits");
    } else {  // classes of the last token
      expect_relative(lm.logits(nn::pool(hidden, batch.offsets, nn::Pooling::last)), want.at("logits"),
                      "classes");
    }
  }
  if (!want.has("written")) return;
  const auto prompt = want.facts.at("prompt").get<std::vector<std::int32_t>>();
  models::DecodingState state = lm.start();
  if (!pair) return expect_written(lm, want, models::DecodingState::kNoMemory, state, prompt);
  const auto memory = lm.remember(state, lm.encode(models::pack({prompt})));
  expect_written(lm, want, memory[0], state, {*model.generation().decoder_start});
}

void check_encoder(const HubModel& model, const Expected& want) {
  models::Encoder& encoder = *model.encoder();
  const auto check = [&](const models::PackedBatch& batch, const std::string& prefix) {
    const std::vector<Tensor> states = model.hidden_states(batch);
    for (const auto& [name, tensor] : want.tensors) {
      if (!name.starts_with(prefix + "hidden.")) continue;
      expect_relative(states.at(std::stoul(name.substr(prefix.size() + 7))), tensor, name);
    }
    if (want.has(prefix + "logits"))
      expect_relative(encoder.scores(batch), want.at(prefix + "logits"), prefix + "logits");
    if (want.has(prefix + "pooled"))
      expect_relative(encoder.pooled(encoder.hidden(batch), encoder.offsets(batch)),
                      want.at(prefix + "pooled"), prefix + "pooled");
  };
  if (!want.has("pixels")) return check(want.batch("ids", "lengths"), "");
  check({.images = want.at("pixels")}, "");
  if (want.has("wide.pixels")) check({.images = want.at("wide.pixels")}, "wide.");
}

// Two segments with the memory between them.
void check_transformer_xl(const HubModel& model, const Expected& want) {
  models::LanguageModel& lm = *model.language_model();
  models::DecodingState state = lm.start();
  const std::int64_t rows = want.at("segment.0.ids").size(0), length = want.at("segment.0.ids").size(1);
  std::vector<std::int64_t> sequences;
  for (std::int64_t b = 0; b < rows; ++b) sequences.push_back(state.add());
  for (const std::string segment : {"segment.0.", "segment.1."}) {
    const auto ids = want.at(segment + "ids").to_vector<std::int32_t>();
    std::vector<models::StepRow> step;
    for (std::int64_t b = 0; b < rows; ++b) {
      step.push_back({.sequence = sequences[static_cast<std::size_t>(b)],
                      .tokens = std::span(ids).subspan(static_cast<std::size_t>(b * length),
                                                       static_cast<std::size_t>(length)),
                      .logits = models::LogitRows::all});
    }
    const Tensor& expected = want.at(segment + "log_probabilities");
    expect_relative(lm.step(state, step), reshape(expected, {rows * length, expected.size(2)}), segment);
  }
  // Whole sequences begin with the same memory of zeros.
  const Tensor& ids = want.at("segment.0.ids");
  models::PackedBatch batch{.ids = reshape(ids, {rows * length}), .offsets = {0}};
  for (std::int64_t b = 1; b <= rows; ++b) batch.offsets.push_back(b * length);
  const std::vector<Tensor> states = model.hidden_states(batch);
  for (std::size_t i = 0; i < states.size(); ++i) {
    const Tensor& expected = want.at("segment.0.hidden." + std::to_string(i));
    expect_relative(states[i], reshape(expected, {rows * length, expected.size(2)}),
                    "hidden." + std::to_string(i));
  }
  const auto prompt = want.facts.at("prompt").get<std::vector<std::int32_t>>();
  expect_written(lm, want, models::DecodingState::kNoMemory, state, prompt);
}

// What asks for something that is not built, and the field that says so.
const std::map<std::string, std::string> kRefused{{"olmo", "model_type"}};

bool refused(const std::string& name) {
  const auto expected = kRefused.find(name);
  if (expected == kRefused.end()) return false;
  try {
    HubModel::load((kFolder / name).string());
    ADD_FAILURE() << name << " was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(error.what()).find(expected->second), std::string::npos) << error.what();
  }
  return true;
}

TEST_P(Families, agree_with_transformers) {
  if (refused(GetParam())) return;
  const fs::path folder = kFolder / GetParam();
  const HubModel model = HubModel::load(folder.string());
  const Expected want(folder);
  EXPECT_EQ(model.notes(), std::vector<std::string>{});
  if (model.model_type() == "transfo-xl") return check_transformer_xl(model, want);
  if (model.encoder()) return check_encoder(model, want);
  check_language_model(model, want);
}

TEST_P(Families, come_out_as_they_went_in) {
  if (refused(GetParam())) return;
  const fs::path folder = kFolder / GetParam();
  const test::TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out";
  HubModel::load(folder.string()).save(out);
  const io::StoredTensors before = io::open_model_files(folder), after = io::open_model_files(out);
  for (const io::StoredTensor& tensor : before.tensors) {
    const io::StoredTensor* copy = after.find(tensor.name);
    ASSERT_TRUE(copy) << tensor.name;
    EXPECT_EQ(name_of(copy->type), name_of(tensor.type)) << tensor.name;
    EXPECT_EQ(copy->shape.str(), tensor.shape.str()) << tensor.name;
    if (io::reads_as_float(tensor.type)) {
      testing::expect_bitwise_equal(io::as_float32(*copy), io::as_float32(tensor), tensor.name);
    } else {
      testing::expect_bitwise_equal(io::as(*copy, DType::int64), io::as(tensor, DType::int64), tensor.name);
    }
  }
  const HubModel again = HubModel::load(out.string());
  EXPECT_EQ(again.config(), HubModel::load(folder.string()).config());
}

std::vector<std::string> folders() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (fs::exists(entry.path() / "expected.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(, Families, ::testing::ValuesIn(folders()), [](const auto& name) {
  std::string out = name.param;
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
});

}  // namespace
}  // namespace headway
