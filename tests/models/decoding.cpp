#include <headway/models/decoding.h>

#include <algorithm>
#include <functional>
#include <map>

#include <headway/autograd/tape.h>
#include <headway/core/parallel.h>
#include <headway/ops/loss.h>
#include <headway/ops/softmax.h>
#include <headway/ops/views.h>

#include "models/tiny.h"

namespace headway {
namespace {

using models::decode;
using models::DecodingOptions;
using models::Hypothesis;
using models::Transformer;
using models::translate;
using testing::random_sentences;
using testing::Sentences;
using testing::tiny_options;

models::TransformerOptions untied() {
  models::TransformerOptions options = tiny_options();
  options.tie_embeddings = false;  // tied and untrained, a model repeats its last token
  return options;
}

/// An untrained model whose distributions are peaked enough that no two continuations are nearly equal.
class Decoding : public ::testing::Test {
 protected:
  Decoding() : generator_(6), model_(untied(), generator_) {
    for (const nn::NamedParameter& parameter : model_.parameters()) {
      if (parameter.name != "output.weight") continue;
      auto* weight = parameter.tensor.data<float>();
      for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i) weight[i] *= 2;
      parameter.tensor.bump_version();
    }
  }

  /// log p of every next token after `prefix`, by the whole decoder.
  std::vector<float> next(const std::vector<std::int32_t>& source, std::vector<std::int32_t> prefix) {
    const NoGrad no_grad;
    prefix.insert(prefix.begin(), 1);
    const models::PackedBatch s = models::pack({source}), t = models::pack({prefix});
    const Tensor hidden = model_.decode(t.ids, {t.offsets, model_.encode(s.ids, s.offsets), s.offsets});
    const std::int64_t last = hidden.size(0) - 1;
    return log_softmax(model_.logits(slice(hidden, 0, last, last + 1))).to_vector<float>();
  }

  double log_probability(const std::vector<std::int32_t>& source, std::vector<std::int32_t> tokens,
                         bool ended) {
    double total = 0;
    if (ended) tokens.push_back(2);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      total += next(source, {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(
                                                                  i)})[static_cast<std::size_t>(tokens[i])];
    }
    return total;
  }

  Generator generator_;
  Transformer model_;
  Sentences sources_ = random_sentences(24, 9, 23, 4);
  // Nothing but the end token and the length limit ends a hypothesis.
  DecodingOptions plain_{.max_length = 12, .max_length_factor = 0, .min_length = 0};
};

TEST_F(Decoding, greedy_takes_the_most_probable_token_at_every_step) {
  const auto found = decode(model_, sources_, plain_);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    std::vector<std::int32_t> want;
    bool ended = false;
    while (!ended && want.size() < 12) {
      const std::vector<float> p = next(sources_[i], want);
      const auto best = static_cast<std::int32_t>(std::max_element(p.begin(), p.end()) - p.begin());
      ended = best == 2;
      if (!ended) want.push_back(best);
    }
    ASSERT_EQ(found[i].size(), 1u);
    EXPECT_EQ(found[i][0].tokens, want);
    const double total = log_probability(sources_[i], want, ended);
    EXPECT_NEAR(found[i][0].log_probability, total, 1e-4);
    EXPECT_NEAR(found[i][0].score, total / static_cast<double>(want.size() + (ended ? 1 : 0)), 1e-4);
  }
}

/// The search as the header describes it, one sentence, the decoder run anew for every hypothesis and step.
std::vector<Hypothesis> plain_beam(
    const std::function<std::vector<float>(const std::vector<std::int32_t>&)>& next,
    const DecodingOptions& options) {
  struct Item {
    std::vector<std::int32_t> tokens;
    double total;
  };
  std::vector<Item> beam{{{}, 0}};
  std::vector<Hypothesis> done;
  bool first_done = false;
  const auto width = static_cast<std::size_t>(options.beam_size);
  for (std::int64_t step = 1;; ++step) {
    std::vector<Item> all;
    for (const Item& item : beam) {
      const std::vector<float> p = next(item.tokens);
      for (std::size_t v = 0; v < p.size(); ++v) {
        all.push_back({item.tokens, item.total + p[v]});
        all.back().tokens.push_back(static_cast<std::int32_t>(v));
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const Item& a, const Item& b) { return a.total > b.total; });
    all.resize(2 * width);
    beam.clear();
    std::vector<Item> reserve;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool ends = all[i].tokens.back() == 2;
      if (i >= width) {
        if (!ends) reserve.push_back(all[i]);
      } else if (ends || step == options.max_length) {
        first_done = first_done || i == 0;
        const double score = all[i].total / std::pow(static_cast<double>(step), options.length_penalty);
        std::vector<std::int32_t> tokens = all[i].tokens;
        if (ends) tokens.pop_back();
        done.push_back({tokens, all[i].total, score});
      } else {
        beam.push_back(all[i]);
      }
    }
    const bool enough = options.length_penalty == 0
                            ? first_done && done.size() >= static_cast<std::size_t>(options.num_hypotheses)
                            : done.size() >= width;
    if (enough || step == options.max_length) break;
    for (std::size_t i = 0; beam.size() < width; ++i) beam.push_back(reserve[i]);
  }
  std::stable_sort(done.begin(), done.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  done.resize(std::min(done.size(), static_cast<std::size_t>(options.num_hypotheses)));
  return done;
}

TEST_F(Decoding, beam_search_equals_the_plain_algorithm) {
  for (const double alpha : {0.0, 0.6, 1.0}) {
    for (const std::int64_t width : {2, 4}) {
      DecodingOptions options = plain_;
      options.beam_size = width;
      options.length_penalty = alpha;
      options.num_hypotheses = 2;
      const auto found = decode(model_, sources_, options);
      for (std::size_t i = 0; i < sources_.size(); ++i) {
        const auto want = plain_beam([&](const auto& prefix) { return next(sources_[i], prefix); }, options);
        ASSERT_EQ(found[i].size(), want.size());
        for (std::size_t j = 0; j < want.size(); ++j) {
          EXPECT_EQ(found[i][j].tokens, want[j].tokens)
              << "alpha " << alpha << ", beam " << width << ", sentence " << i;
          EXPECT_NEAR(found[i][j].log_probability, want[j].log_probability, 1e-4);
          EXPECT_NEAR(found[i][j].score, want[j].score, 1e-4);
        }
      }
    }
  }
}

TEST_F(Decoding, wider_beams_find_more_probable_translations) {
  DecodingOptions options = plain_;
  options.length_penalty = 0;
  std::vector<double> totals;
  options.min_length = 4;  // the shortest are the most probable: that would be found by any
  for (const std::int64_t width : {1, 2, 8}) {
    options.beam_size = width;
    double total = 0;
    for (const auto& hypotheses : decode(model_, sources_, options)) total += hypotheses[0].log_probability;
    totals.push_back(total);
  }
  EXPECT_GT(totals[1], totals[0]);
  EXPECT_GT(totals[2], totals[1]);
}

TEST_F(Decoding, batches_of_any_make_up_give_the_same_translations) {
  for (const std::int64_t width : {1, 3}) {
    DecodingOptions options = plain_;
    options.beam_size = width;
    const auto together = decode(model_, sources_, options);
    options.batch_rows = 7;
    const auto small = decode(model_, sources_, options);
    options.batch_tokens = 1;
    const auto single = decode(model_, sources_, options);
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      EXPECT_EQ(together[i][0].tokens, small[i][0].tokens);
      EXPECT_EQ(together[i][0].tokens, single[i][0].tokens);
      EXPECT_EQ(together[i][0].log_probability, single[i][0].log_probability);
      EXPECT_EQ(decode(model_, {sources_[i]}, options)[0][0].tokens, single[i][0].tokens);
    }
  }
}

TEST_F(Decoding, bits_do_not_depend_on_threads) {
  const int before = threads();
  DecodingOptions options = plain_;
  options.beam_size = 3;
  options.batch_rows = 20;
  std::vector<std::vector<double>> seen;
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    std::vector<double> values;
    for (const auto& hypotheses : decode(model_, sources_, options))
      values.push_back(hypotheses[0].log_probability);
    seen.push_back(values);
  }
  set_threads(before);
  for (const auto& values : seen) EXPECT_EQ(values, seen[0]);
}

TEST_F(Decoding, lengths_keep_their_limits) {
  DecodingOptions options = plain_;
  options.suppress = {2};  // never ends by itself
  options.max_length = 9;
  for (const std::int64_t width : {1, 4}) {
    options.beam_size = width;
    for (const auto& tokens : translate(model_, sources_, options)) EXPECT_EQ(tokens.size(), 9u);
  }
  options.max_length_factor = 1;
  options.max_length_extra = 2;
  const auto relative = translate(model_, sources_, options);
  for (std::size_t i = 0; i < sources_.size(); ++i)
    EXPECT_EQ(relative[i].size(), std::min<std::size_t>(9, sources_[i].size() + 2));
  options.max_length_factor = 0;
  options.max_length = 100;
  // The model's own limit of 40 positions.
  for (const auto& tokens : translate(model_, sources_, options)) EXPECT_EQ(tokens.size(), 40u);
  options = plain_;
  options.min_length = 5;
  for (const std::int64_t width : {1, 4}) {
    options.beam_size = width;
    for (const auto& tokens : translate(model_, sources_, options)) EXPECT_GE(tokens.size(), 5u);
  }
}

TEST_F(Decoding, suppressed_tokens_never_appear) {
  DecodingOptions options = plain_;
  options.beam_size = 4;
  options.num_hypotheses = 4;
  for (std::int32_t token = 3; token < 16; ++token) options.suppress.push_back(token);
  for (const auto& hypotheses : decode(model_, sources_, options)) {
    for (const Hypothesis& hypothesis : hypotheses) {
      for (const std::int32_t token : hypothesis.tokens) EXPECT_TRUE(token < 3 || token >= 16);
    }
  }
}

TEST_F(Decoding, sampling_depends_on_seed_and_place_alone) {
  DecodingOptions options = plain_;
  options.sampling = models::Sampling{.seed = 5};
  const auto first = translate(model_, sources_, options);
  options.batch_rows = 5;
  EXPECT_EQ(translate(model_, sources_, options), first);
  options.sampling->seed = 6;
  EXPECT_NE(translate(model_, sources_, options), first);
}

TEST_F(Decoding, sampling_narrowed_to_one_token_is_greedy) {
  const auto greedy = translate(model_, sources_, plain_);
  for (const models::Sampling& how : {models::Sampling{.top_k = 1}, models::Sampling{.top_p = 1e-6},
                                      models::Sampling{.temperature = 1e-4}}) {
    DecodingOptions options = plain_;
    options.sampling = how;
    EXPECT_EQ(translate(model_, sources_, options), greedy);
  }
}

TEST_F(Decoding, samples_follow_the_tempered_and_cut_distribution) {
  const std::vector<std::int32_t> source{5, 6, 7};
  const std::vector<float> log_p = next(source, {});
  for (const models::Sampling& how :
       {models::Sampling{.temperature = 1.5}, models::Sampling{.top_k = 4}, models::Sampling{.top_p = 0.7},
        models::Sampling{.temperature = 2, .top_k = 6, .top_p = 0.8}}) {
    std::vector<std::size_t> order(log_p.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return log_p[a] > log_p[b]; });
    if (how.top_k > 0) order.resize(static_cast<std::size_t>(how.top_k));
    std::vector<double> weight;
    double total = 0;
    for (const std::size_t token : order) {
      weight.push_back(std::exp(log_p[token] / how.temperature));
      total += weight.back();
    }
    double kept = 0;
    std::map<std::int32_t, double> want;
    for (std::size_t i = 0; i < order.size() && kept < how.top_p * total; ++i) {
      kept += weight[i];
      want[static_cast<std::int32_t>(order[i])] = weight[i];
    }
    DecodingOptions options = plain_;
    options.max_length = 1;
    options.num_hypotheses = 4000;
    options.batch_rows = 4000;
    options.sampling = how;
    std::map<std::int32_t, double> seen;
    const auto found = decode(model_, {source}, options);
    for (const Hypothesis& hypothesis : found[0]) {
      seen[hypothesis.tokens.empty() ? 2 : hypothesis.tokens[0]] += 1;
    }
    for (const auto& [token, count] : seen) {
      ASSERT_TRUE(want.contains(token)) << token;
    }
    for (const auto& [token, w] : want) {
      const double p = w / kept;
      // Five deviations of a binomial count: one such test in two million fails by chance, and the seed is
      // fixed.
      EXPECT_NEAR(seen[token] / 4000, p, 5 * std::sqrt(p * (1 - p) / 4000)) << token;
    }
  }
}

TEST_F(Decoding, empty_sentences_and_inputs_are_no_trouble) {
  EXPECT_TRUE(decode(model_, {}, plain_).empty());
  const auto found = translate(model_, {{}, {5, 6}, {}}, plain_);
  EXPECT_TRUE(found[0].empty());
  EXPECT_TRUE(found[2].empty());
  EXPECT_EQ(found[1], translate(model_, {{5, 6}}, plain_)[0]);
}

TEST_F(Decoding, bfloat16_decodes) {
  models::TransformerOptions options = tiny_options();
  options.precision = DType::bfloat16;
  Generator generator(6);
  Transformer model(options, generator);
  DecodingOptions beam = plain_;
  beam.beam_size = 3;
  for (const auto& hypotheses : decode(model, sources_, beam)) {
    EXPECT_TRUE(std::isfinite(hypotheses[0].score));
    EXPECT_LT(hypotheses[0].score, 0);
  }
}

TEST_F(Decoding, wrong_options_are_named) {
  const auto refused = [&](const std::function<void(DecodingOptions&)>& change, const std::string& part) {
    DecodingOptions options = plain_;
    change(options);
    try {
      decode(model_, sources_, options);
      FAIL() << "no error; want one with: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refused([](auto& o) { o.beam_size = 0; }, "beam_size is 0");
  refused([](auto& o) { o.beam_size = 10; }, "half of the target vocabulary of 19");
  refused([](auto& o) { o.num_hypotheses = 2; }, "num_hypotheses is 2");
  refused([](auto& o) { o.eos = 19; }, "eos is 19");
  refused([](auto& o) { o.suppress = {-1}; }, "suppress is -1");
  refused([](auto& o) { o.min_length = 13; }, "min_length is 13");
  refused([](auto& o) { o.sampling = models::Sampling{.temperature = 0}; }, "temperature is 0");
  refused([](auto& o) { o.sampling = models::Sampling{.top_p = 1.5}; }, "top_p is 1.5");
  refused(
      [](auto& o) {
        for (std::int32_t t = 0; t < 19; ++t) o.suppress.push_back(t);
      },
      "not finite");
  Generator noise(1);
  model_.train(noise);
  refused([](auto&) {}, "eval()");
  model_.eval();
  EXPECT_THROW(decode(model_, {{5, 99}}, plain_), Error);
}

}  // namespace
}  // namespace headway
