// What a fixed seed gives: losses, norms of gradients and memory of ten steps of training, and thirty
// translations of the model after more of them. Equal to the bit on every processor with AVX2, and for any
// number of threads: avx2.cpp. Where a change of these bits is meant, HEADWAY_GOLDEN_WRITE=training, memory
// or decoding (or several, as training,memory) writes that part of tests/golden/translator.json anew.
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <nlohmann/json.hpp>

#include <headway/core/allocator.h>
#include <headway/core/generator.h>
#include <headway/core/parallel.h>
#include <headway/models/decoding.h>
#include <headway/train/translation.h>

#include "io/temporary.h"

namespace headway {
namespace {

using nlohmann::json;
using train::TranslationConfig;

constexpr const char* kFile = HEADWAY_SOURCE_DIR "/tests/golden/translator.json";
constexpr std::int64_t kRecorded = 10;  // steps

// --- The corpus: sentences of a small grammar, one language after the other

struct Word {
  const char *english, *german;
};

text::Pair sentence(Generator& generator) {
  static constexpr Word kWho[] = {{"the child", "das Kind"},   {"my neighbour", "mein Nachbar"},
                                  {"a teacher", "ein Lehrer"}, {"the old king", "der alte König"},
                                  {"nobody", "niemand"},       {"our dog", "unser Hund"}};
  static constexpr Word kDoes[] = {
      {"sees", "sieht"}, {"finds", "findet"}, {"paints", "malt"}, {"buys", "kauft"}, {"hears", "hört"}};
  static constexpr Word kWhat[] = {{"the red house", "das rote Haus"},
                                   {"a small bird", "einen kleinen Vogel"},
                                   {"seven apples", "sieben Äpfel"},
                                   {"the river", "den Fluss"},
                                   {"an open window", "ein offenes Fenster"}};
  static constexpr Word kWhen[] = {{"today", "heute"},
                                   {"in the morning", "am Morgen"},
                                   {"again", "wieder"},
                                   {"before the storm", "vor dem Sturm"}};
  const auto pick = [&](const auto& words) -> const Word& {
    return words[generator.below(std::size(words))];
  };
  const Word &who = pick(kWho), &does = pick(kDoes), &what = pick(kWhat), &when = pick(kWhen);
  if (generator.below(3) == 0)
    return {fmt::format("{} {} {}.", who.english, does.english, what.english),
            fmt::format("{} {} {}.", who.german, does.german, what.german), ""};
  return {fmt::format("{}, {} {} {}.", when.english, who.english, does.english, what.english),
          fmt::format("{} {} {} {}.", when.german, does.german, who.german, what.german), ""};
}

text::Pairs corpus(std::uint64_t seed, int count) {
  Generator generator(seed);
  text::Pairs pairs;
  for (int i = 0; i < count; ++i) pairs.push_back(sentence(generator));
  return pairs;
}

// --- Two translators that have no option in common but those of the task

TranslationConfig common() {
  TranslationConfig config;
  config.tokenizer.vocab_size = 120;
  config.model.model_dim = 32;
  config.model.heads = 4;
  config.model.feed_forward_dim = 64;
  config.model.encoder_layers = config.model.decoder_layers = 2;
  config.model.max_length = 64;
  config.model.dropout = 0.1;
  config.model.attention_dropout = 0.1;
  config.training.batch_tokens = 400;
  config.training.accumulate = 2;
  config.training.steps = 100;
  config.training.adam.clip_norm = 1;
  config.training.label_smoothing = 0.1;
  config.training.average_decay = 0.9;
  config.training.seed = 17;
  return config;
}

TranslationConfig pre_norm() {
  TranslationConfig config = common();
  config.model.norm = nn::NormPlacement::pre;
  config.model.share_source = true;  // one table for source, target and output
  config.training.schedule = {.decay = train::Decay::cosine, .rate = 0.01, .warmup = 20};
  return config;
}

TranslationConfig post_norm() {
  TranslationConfig config = common();
  config.model.norm = nn::NormPlacement::post;
  config.model.norm_kind = nn::NormKind::rms;
  config.model.positions = nn::PositionKind::learned;
  config.model.activation = nn::FeedForwardKind::gelu;
  config.model.projection = nn::Projection::split;
  config.model.kv_heads = 2;
  config.model.activation_dropout = 0.05;
  config.model.checkpoint_activations = true;
  config.training.schedule = {.decay = train::Decay::inverse_sqrt, .rate = 0.01, .warmup = 20};
  config.training.adam.weight_decay = 0.01;
  return config;
}

// --- What they do, as the file holds it: hexadecimal floating point, which keeps every bit

std::string bits(double value) { return fmt::format("{:a}", value); }

struct Trained {
  std::unique_ptr<test::TemporaryFolder> folder = std::make_unique<test::TemporaryFolder>();
  json steps, peak_bytes;
};

Trained trained(TranslationConfig config, std::int64_t steps) {
  Trained out;
  config.training.schedule.steps = config.training.steps;
  config.training.steps = steps;
  train::TranslationCallbacks callbacks;
  callbacks.on_step = [&](const train::StepReport& report) {
    if (report.step > kRecorded) return;
    out.steps["loss"].push_back(bits(report.loss));
    out.steps["gradient_norm"].push_back(bits(report.gradient_norm));
    out.peak_bytes = memory_stats().peak;
  };
  const std::int64_t before = memory_stats().current;
  reset_peak();
  train_translation(config, {.train = corpus(1, 400), .valid = {}}, out.folder->path(), callbacks);
  out.peak_bytes = out.peak_bytes.get<std::int64_t>() - before;
  return out;
}

json decoded(const train::Translator& translator, std::int64_t beam_size) {
  std::vector<std::vector<std::int32_t>> sources;
  for (const text::Pair& pair : corpus(2, 30)) sources.push_back(translator.source_ids(pair.source));
  models::DecodingOptions options = translator.config().decoding;
  options.beam_size = beam_size;
  json lines;
  for (const auto& hypotheses : models::decode(translator.model(), sources, options)) {
    const models::Hypothesis& best = hypotheses.at(0);
    lines.push_back({translator.tokenizer().decode(best.tokens), bits(best.log_probability)});
  }
  return lines;
}

// --- Comparison with the file, or its renewal

bool is_to_be_written(const char* part) {
  const char* parts = std::getenv("HEADWAY_GOLDEN_WRITE");
  return parts && fmt::format(",{},", parts).find(fmt::format(",{},", part)) != std::string::npos;
}

json golden() {
  std::ifstream file(kFile);
  return file ? json::parse(file) : json::object();
}

void check(const char* part, const std::string& model, const json& got) {
  json all = golden();
  json& kept = all[part][model];
  if (is_to_be_written(part)) {
    kept = got;
    std::ofstream(kFile) << all.dump(1) << "\n";
  }
  ASSERT_EQ(kept.size(), got.size()) << part << " of " << model;
  for (const auto& [name, value] : got.items()) EXPECT_EQ(kept.at(name), value) << part << " of " << model;
}

class GoldenRun : public testing::TestWithParam<nn::NormPlacement> {
 protected:
  void SetUp() override {
    if (!(hwy::SupportedTargets() & HWY_AVX2)) GTEST_SKIP() << "the golden bits are of AVX2";
  }
  void TearDown() override { set_threads(threads_); }
  std::string model() const { return is_pre_norm() ? "pre-norm" : "post-norm"; }
  TranslationConfig config() const { return is_pre_norm() ? pre_norm() : post_norm(); }

 private:
  bool is_pre_norm() const { return GetParam() == nn::NormPlacement::pre; }
  const int threads_ = threads();
};

TEST_P(GoldenRun, ten_steps_of_training_keep_their_bits_and_their_memory) {
  set_threads(1);  // each thread has workspaces of its own
  const Trained run = trained(config(), kRecorded);
  check("training", model(), run.steps);
  check("memory", model(), {{"peak_bytes", run.peak_bytes}});
}

TEST_P(GoldenRun, more_threads_train_to_the_same_bits) {
  set_threads(3);
  check("training", model(), trained(config(), kRecorded).steps);
}

TEST_P(GoldenRun, thirty_translations_keep_their_words_and_bits) {
  set_threads(1);
  const Trained run = trained(config(), config().training.steps);
  const train::Translator translator = train::Translator::load(run.folder->path());
  check("decoding", model(), {{"greedy", decoded(translator, 1)}, {"beam of 4", decoded(translator, 4)}});
}

INSTANTIATE_TEST_SUITE_P(Translator, GoldenRun,
                         testing::Values(nn::NormPlacement::pre, nn::NormPlacement::post),
                         [](const auto& chosen) {
                           return chosen.param == nn::NormPlacement::pre ? "pre_norm" : "post_norm";
                         });

}  // namespace
}  // namespace headway
