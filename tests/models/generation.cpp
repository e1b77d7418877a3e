#include <headway/models/generation.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/models/llama.h>

namespace headway {
namespace {

using models::generate;
using models::GenerationOptions;
using models::Sampling;

/// Logits that depend on the last token alone, by a table.
class TableModel : public models::LanguageModel {
 public:
  explicit TableModel(std::vector<std::vector<float>> table) : table_(std::move(table)) { eval(); }
  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(table_.size()); }
  std::int64_t max_length() const override { return 9; }
  Tensor logits(const Tensor& hidden) const override {
    std::vector<float> out;
    for (const float last : hidden.to_vector<float>()) {
      const std::vector<float>& row = table_[static_cast<std::size_t>(last)];
      out.insert(out.end(), row.begin(), row.end());
    }
    return from(out, {hidden.size(0), vocabulary()});
  }

  std::int64_t given = 0, most = 0;  ///< tokens so far; at once

 protected:
  Tensor run(const Call& call) override {
    given += call.ids.numel();
    most = std::max(most, call.ids.numel());
    const auto ids = call.ids.to_vector<std::int32_t>();
    return from(std::vector<float>(ids.begin(), ids.end()), {static_cast<std::int64_t>(ids.size()), 1});
  }
  nn::BlockStack& decoder() override { return stack_; }

 private:
  std::vector<std::vector<float>> table_;
  Generator generator_{0};
  nn::BlockStack stack_{{.blocks = {{.attention = {.model_dim = 4, .heads = 1},
                                     .feed_forward = {.model_dim = 4, .hidden = 4},
                                     .norm = {.width = 4}}}},
                        generator_};  // never run
};

/// Every token has the same likely successors.
TableModel constant(const std::vector<float>& logits) {
  return TableModel(std::vector<std::vector<float>>(logits.size(), logits));
}

const std::vector<float> kLogits{1.0F, 2.2F, -0.5F, 1.7F, 0.1F, 2.0F, -3.0F, 1.2F};

std::vector<double> softmax_of(const std::vector<float>& logits, double temperature) {
  std::vector<double> out;
  for (const float logit : logits) out.push_back(std::exp(static_cast<double>(logit) / temperature));
  const double total = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& p : out) p /= total;
  return out;
}

/// How often each token is drawn first, of `count` draws.
std::vector<double> drawn(TableModel& model, const Sampling& sampling, std::size_t count) {
  const auto texts = generate(model, std::vector<std::vector<std::int32_t>>(count, {0}),
                              {.max_new_tokens = 1, .sampling = sampling});
  std::vector<double> out(static_cast<std::size_t>(model.vocabulary()));
  for (const auto& text : texts) out[static_cast<std::size_t>(text.at(0))] += 1 / static_cast<double>(count);
  return out;
}

/// Draws follow the probabilities of the tokens that are `kept`, scaled to 1; five standard deviations.
void expect_draws(const Sampling& sampling, const std::vector<bool>& kept) {
  TableModel model = constant(kLogits);
  std::vector<double> want = softmax_of(kLogits, sampling.temperature);
  for (std::size_t i = 0; i < want.size(); ++i) want[i] = kept[i] ? want[i] : 0;
  const double total = std::accumulate(want.begin(), want.end(), 0.0);
  constexpr std::size_t kCount = 20000;
  const std::vector<double> got = drawn(model, sampling, kCount);
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double p = want[i] / total;
    EXPECT_NEAR(got[i], p, 5 * std::sqrt(p * (1 - p) / kCount) + 1e-9) << "token " << i;
  }
}

TEST(Generation, draws_follow_temperature) {
  for (const double temperature : {0.5, 1.0, 2.0})
    expect_draws({.temperature = temperature, .seed = 5}, std::vector<bool>(8, true));
}

TEST(Generation, top_k_keeps_the_most_probable) {
  expect_draws({.top_k = 3}, {false, true, false, true, false, true, false, false});
  expect_draws({.top_k = 1}, {false, true, false, false, false, false, false, false});
  expect_draws({.top_k = 100}, std::vector<bool>(8, true));
}

// Probabilities are 0.097, 0.321, 0.022, 0.195, 0.039, 0.263, 0.002, 0.118: sorted sums 0.32, 0.58, 0.78,
// 0.90.
TEST(Generation, top_p_keeps_the_fewest_that_hold_it) {
  expect_draws({.top_p = 0.5}, {false, true, false, false, false, true, false, false});
  expect_draws({.top_p = 0.6}, {false, true, false, true, false, true, false, false});
  expect_draws({.top_k = 3, .top_p = 0.7}, {false, true, false, false, false, true, false, false});
  expect_draws({.top_p = 1e-9}, {false, true, false, false, false, false, false, false});
}

TEST(Generation, min_p_keeps_what_is_near_the_most_probable) {
  // Shares of the most probable one's: 0.30, 1, 0.067, 0.61, 0.12, 0.82, 0.0055, 0.37.
  expect_draws({.min_p = 0.35}, {false, true, false, true, false, true, false, true});
  expect_draws({.min_p = 0.05}, {true, true, true, true, true, true, false, true});
  expect_draws({.min_p = 1}, {false, true, false, false, false, false, false, false});
  // After the temperature: at 2 the shares are their roots, 0.55, 1, 0.26, 0.78, 0.35, 0.90, 0.074, 0.61.
  expect_draws({.temperature = 2, .min_p = 0.5}, {true, true, false, true, false, true, false, true});
  expect_draws({.temperature = 0.5, .min_p = 0.35}, {false, true, false, true, false, true, false, false});
  // What is left is what top_p is a share of.
  expect_draws({.top_p = 0.75, .min_p = 0.35}, {false, true, false, true, false, true, false, false});
}

TEST(Generation, a_prompt_draws_the_same_wherever_it_stands) {
  TableModel model = constant(kLogits);
  const GenerationOptions how{.max_new_tokens = 7, .sampling = Sampling{.seed = 11}};
  const std::vector<std::vector<std::int32_t>> prompts{{0}, {1}, {1, 0}, {0, 1}, {5}, {0}, {0}};
  const auto together = generate(model, prompts, how);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(generate(model, {prompts[i]}, how).front(), together[i]);
  EXPECT_EQ(generate(model, {{7}, {0}, {3}, {0}, {0}}, how)[1], together[0]);
  EXPECT_EQ(generate(model, {{7}, {0}, {3}, {0}, {0}}, how)[3], together[5]);
  EXPECT_NE(together[0], together[5]);
  EXPECT_NE(together[5], together[6]);
  EXPECT_NE(together[0], together[1]);
  GenerationOptions other = how;
  other.sampling->seed = 12;
  EXPECT_NE(generate(model, {{0}}, other).front(), together[0]);
}

TEST(Generation, penalties_change_logits_of_tokens_that_are_there) {
  TableModel model = constant(kLogits);
  // 2.2/1.15 = 1.91 < 2.0, 2.0/1.15 = 1.74 > 1.7, 1.7/1.15 = 1.48 < 1.91; the prompt's count too.
  EXPECT_EQ(generate(model, {{0}}, {.max_new_tokens = 5, .repetition_penalty = 1.15}).front(),
            (std::vector<std::int32_t>{1, 5, 1, 1, 1}));
  EXPECT_EQ(generate(model, {{1}}, {.max_new_tokens = 2, .repetition_penalty = 1.15}).front(),
            (std::vector<std::int32_t>{5, 1}));
  // Negative logits are multiplied: all are, and -3 · 4 falls behind -4.
  TableModel below = constant({-3, -4, -5});
  EXPECT_EQ(generate(below, {{0}}, {.max_new_tokens = 3, .repetition_penalty = 1.5}).front(),
            (std::vector<std::int32_t>{1, 0, 0}));
  // 2.2 - 0.4 = 1.8 < 2.0; 2.0 - 0.4 = 1.6 < 1.8; of what was written alone.
  EXPECT_EQ(generate(model, {{1, 5}}, {.max_new_tokens = 5, .presence_penalty = 0.4}).front(),
            (std::vector<std::int32_t>{1, 5, 1, 1, 1}));
}

TEST(Generation, ends_and_limits) {
  // 0 → 1 → 2 → … → 7 → 0.
  std::vector<std::vector<float>> table(8, std::vector<float>(8, 0));
  for (std::size_t i = 0; i < 8; ++i) table[i][(i + 1) % 8] = 5;
  TableModel model(table);
  const auto written = [&](const GenerationOptions& how) { return generate(model, {{0}}, how).front(); };
  EXPECT_EQ(written({.end = {4, 3}}), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(written({.end = {4}}), (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(written({.end = {1}}), (std::vector<std::int32_t>{}));
  EXPECT_EQ(written({.max_new_tokens = 2}), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(written({}).size(), 8U);  // the model takes 9
  EXPECT_NE(written({.min_new_tokens = 1, .end = {1}}), (std::vector<std::int32_t>{}));
  EXPECT_NE(written({.suppress = {1}}).at(0), 1);
  std::map<std::size_t, std::vector<std::int32_t>> told;
  const auto results = generate(model, {{0}, {3}, {6}}, {.end = {7}}, [&](std::size_t text, std::int32_t t) {
    told[text].push_back(t);
    return t != 2;
  });
  EXPECT_EQ(results, (std::vector<std::vector<std::int32_t>>{{1, 2}, {4, 5, 6}, {}}));
  EXPECT_EQ(told, (std::map<std::size_t, std::vector<std::int32_t>>{{0, {1, 2}}, {1, {4, 5, 6}}}));
}

TEST(Generation, many_texts_are_not_computed_at_once) {
  TableModel model = constant(kLogits);
  std::vector<std::vector<std::int32_t>> prompts;
  for (std::int32_t i = 0; i < 1000; ++i) prompts.push_back({i % 8, i / 8 % 8, i / 64 % 8});
  const GenerationOptions how{.max_new_tokens = 5, .end = {3}, .sampling = Sampling{.seed = 2}};
  std::vector<std::size_t> told(prompts.size());
  const auto texts = generate(model, prompts, how, [&](std::size_t text, std::int32_t) {
    ++told[text];
    return true;
  });
  EXPECT_EQ(model.most, 64 * 3);
  for (const std::size_t i : {0U, 63U, 64U, 500U})
    EXPECT_EQ(generate(model, {prompts[i]}, how).front(), texts[i]);
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(told[i], texts[i].size());
  EXPECT_TRUE(generate(model, std::vector<std::vector<std::int32_t>>{}, how).empty());
}

TEST(Generation, a_text_that_grows_is_computed_once) {
  // 0 → 1 → 2 → … → 7 → 0.
  std::vector<std::vector<float>> table(8, std::vector<float>(8, 0));
  for (std::size_t i = 0; i < 8; ++i) table[i][(i + 1) % 8] = 5;
  TableModel model(table);
  models::KeptText kept;
  const auto costs = [&](const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& want) {
    const std::int64_t before = model.given;
    EXPECT_EQ(generate(model, prompt, {.max_new_tokens = 3, .end = {7}}, {}, kept), want);
    return model.given - before;
  };
  EXPECT_EQ(costs({3, 3}, {4, 5, 6}), 4);        // the prompt, 4, 5
  EXPECT_EQ(kept.known({3, 3, 4, 5, 6, 1}), 4);  // 6 was not given yet
  EXPECT_EQ(costs({3, 3, 4, 5, 6, 5}, {6}), 3);  // 6, 5, and 6 again, after which comes the end
  EXPECT_EQ(kept.known({3, 3, 4, 5, 6, 5, 6, 0}), 7);
  EXPECT_EQ(costs({3, 3, 4, 5, 6, 5, 2, 6}, {}), 2);   // another reply than what was written: from the prompt
  EXPECT_EQ(costs({3, 3, 4, 5, 6, 5, 2, 6}, {}), 8);   // nothing new: there are no logits to begin with
  EXPECT_EQ(costs({3, 3, 4, 5, 2, 6}, {}), 6);         // changed before the end: anew
  EXPECT_EQ(costs({3, 3, 4, 5, 2, 6, 1}, {2, 3}), 2);  // 1 and 2: the model takes no more
  EXPECT_THROW(costs({3, 3, 4, 5, 2, 6, 1, 8}, {}), Error);
  EXPECT_EQ(kept.known({3, 3, 4, 5, 2, 6, 1, 2}), 0);
  const models::KeptText copy = kept;
  EXPECT_EQ(costs({3}, {4, 5, 6}), 3);
  EXPECT_EQ(copy.known({3, 4}), 0);
}

TEST(Generation, a_text_that_grows_is_what_it_is_at_once) {
  Generator generator(3);
  models::Llama model({.vocabulary = 40,
                       .max_length = 200,
                       .model_dim = 32,
                       .heads = 4,
                       .kv_heads = 2,
                       .feed_forward_dim = 48,
                       .layers = {{.window = 6}, {}}},
                      generator);
  model.eval();
  models::KeptText kept;
  std::vector<std::int32_t> text{5, 9, 3, 30, 7};
  for (int turn = 0; turn < 6; ++turn) {
    const GenerationOptions how{.max_new_tokens = 9, .end = {turn}, .repetition_penalty = 1.2};
    const auto reply = generate(model, text, how, {}, kept);
    EXPECT_EQ(reply, generate(model, {text}, how).front());
    text.insert(text.end(), reply.begin(), reply.end());
    if (turn == 3) text.resize(text.size() - 4);  // not as it was written
    for (std::int32_t i = 0; i < 6; ++i) text.push_back((7 * i + turn) % 40);
  }
}

TEST(Generation, what_cannot_be_written_is_refused) {
  TableModel model = constant(kLogits);
  const auto message = [&](const std::vector<std::vector<std::int32_t>>& prompts,
                           const GenerationOptions& how) {
    try {
      generate(model, prompts, how);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  EXPECT_EQ(message({{0}, {}}, {}), "generate: prompt 1 has no tokens; want at least one");
  EXPECT_EQ(message({std::vector<std::int32_t>(9, 0)}, {}),
            "generate: prompt 0 has 9 tokens; want fewer than the 9 that the model takes");
  EXPECT_EQ(message({{0}}, {.max_new_tokens = 0}), "generate: max_new_tokens is 0; want at least 1");
  EXPECT_EQ(message({{0}}, {.repetition_penalty = 0}),
            "generate: repetition_penalty is 0; want a positive number");
  EXPECT_EQ(message({{0}}, {.presence_penalty = NAN}), "generate: presence_penalty is nan; want a number");
  EXPECT_EQ(message({{0}}, {.sampling = Sampling{.top_p = 0}}),
            "generate: top_p is 0; want a share in (0, 1]");
  EXPECT_EQ(message({{0}}, {.sampling = Sampling{.min_p = 1.5}}),
            "generate: min_p is 1.5; want a share in [0, 1]");
  EXPECT_EQ(message({{0}}, {.sampling = Sampling{.top_k = -1}}), "generate: top_k is -1; want at least 0");
  EXPECT_NE(message({{0}}, {.sampling = Sampling{.temperature = 0}}).find("leave sampling out"),
            std::string::npos);
  EXPECT_NE(message({{8}}, {}).find("token 8"), std::string::npos) << message({{8}}, {});
}

}  // namespace
}  // namespace headway
