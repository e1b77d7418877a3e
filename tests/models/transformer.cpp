#include <algorithm>
#include <set>

#include <headway/autograd/tape.h>
#include <headway/models/transformer.h>
#include <headway/ops/views.h>

#include "models/tiny.h"

namespace headway {
namespace {

using models::DecodingState;
using models::StepRow;
using models::Transformer;
using models::TransformerOptions;
using testing::batch_of;
using testing::expect_near_all;
using testing::kReordered;
using testing::logits_of;
using testing::random_sentences;
using testing::Sentences;
using testing::tiny_options;

std::vector<TransformerOptions> variants() {
  std::vector<TransformerOptions> all(6, tiny_options());
  all[1].norm = nn::NormPlacement::post;
  all[2].positions = nn::PositionKind::learned;
  all[2].kv_heads = 2;
  all[3].activation = nn::FeedForwardKind::swiglu;
  all[3].norm_kind = nn::NormKind::rms;
  all[3].tie_embeddings = false;
  all[4].projection = nn::Projection::split;
  all[4].activation = nn::FeedForwardKind::gelu;
  all[5].source_vocab = all[5].target_vocab;
  all[5].share_source = true;
  return all;
}

TEST(Transformer, packed_batch_equals_each_pair_by_itself) {
  const Sentences sources = random_sentences(5, 9, 23, 1), targets = random_sentences(5, 7, 19, 2);
  for (TransformerOptions options : variants()) {
    if (options.share_source) options.source_vocab = options.target_vocab = 23;
    Generator generator(3);
    Transformer model(options, generator);
    const auto batch = batch_of(sources, targets);
    const Tensor together = logits_of(model, batch);
    for (std::size_t b = 0; b < sources.size(); ++b) {
      const Tensor alone = logits_of(model, batch_of({sources[b]}, {targets[b]}));
      expect_near_all(slice(together, 0, batch.target_offsets[b], batch.target_offsets[b + 1]), alone,
                      kReordered);
    }
  }
}

TEST(Transformer, padded_ids_pack_to_the_same_batch) {
  const std::vector<std::int32_t> padded{5, 6, 7, 8, 0, 0, 9, 4, 0};
  const models::PackedBatch packed = models::pack(from(padded, {3, 3}), {3, 1, 2});
  EXPECT_EQ(packed.ids.to_vector<std::int32_t>(), (std::vector<std::int32_t>{5, 6, 7, 8, 9, 4}));
  EXPECT_EQ(packed.offsets, (std::vector<std::int64_t>{0, 3, 4, 6}));
  EXPECT_THROW(models::pack(from(padded, {3, 3}), {3, 4, 2}), Error);
  EXPECT_THROW(models::pack(from(padded, {3, 3}), {3, 1}), Error);
}

TEST(Transformer, target_row_never_sees_a_later_token) {
  Generator generator(5);
  Transformer model(tiny_options(), generator);
  const Tensor before = logits_of(model, batch_of({{5, 6, 7}}, {{3, 4, 5, 6}}));
  const Tensor after = logits_of(model, batch_of({{5, 6, 7}}, {{3, 4, 9, 10}}));
  // Row 0 holds the start token: the changed tokens enter at rows 3 and 4.
  testing::expect_bitwise_equal(slice(before, 0, 0, 3), slice(after, 0, 0, 3), "rows before the change");
  EXPECT_NE(slice(before, 0, 3, 4).to_vector<float>(), slice(after, 0, 3, 4).to_vector<float>());
}

TEST(Transformer, cached_steps_equal_full_recomputation) {
  const Sentences sources = random_sentences(3, 8, 19, 7);
  Sentences targets = random_sentences(3, 1, 19, 8);
  for (auto& target : targets) target.resize(6, 4);
  targets[1] = {9, 8, 7, 6, 5, 4};
  for (const TransformerOptions& options : variants()) {
    Generator generator(9);
    Transformer model(options, generator);
    const auto batch = batch_of(sources, targets);
    const NoGrad no_grad;
    const Tensor whole = logits_of(model, batch);
    DecodingState state = model.start();
    std::vector<std::int64_t> texts;
    for (const std::int64_t memory :
         model.remember(state, model.encode({batch.source, batch.source_offsets})))
      texts.push_back(state.add(memory));
    const auto tokens = batch.target_in.to_vector<std::int32_t>();
    for (std::int64_t t = 0; t < 7; ++t) {
      std::vector<std::int32_t> ids;
      for (std::size_t b = 0; b < 3; ++b)
        ids.push_back(tokens[static_cast<std::size_t>(batch.target_offsets[b] + t)]);
      std::vector<StepRow> rows;
      for (std::size_t b = 0; b < 3; ++b)
        rows.push_back({.sequence = texts[b], .tokens = std::span(ids).subspan(b, 1)});
      const Tensor step = model.step(state, rows);
      for (std::int64_t b = 0; b < 3; ++b) {
        const std::int64_t row = batch.target_offsets[static_cast<std::size_t>(b)] + t;
        expect_near_all(slice(step, 0, b, b + 1), slice(whole, 0, row, row + 1), kReordered);
      }
    }
  }
}

TEST(Transformer, every_parameter_gets_a_gradient) {
  const auto batch = batch_of(random_sentences(6, 9, 19, 1), random_sentences(6, 7, 19, 2));
  for (const TransformerOptions& options : variants()) {
    Generator generator(3);
    Transformer model(options, generator);
    model.loss(batch, 0.1).backward();
    for (const nn::NamedParameter& parameter : model.parameters()) {
      ASSERT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
      const std::vector<double> values = testing::values_of(parameter.tensor.grad());
      EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
          << parameter.name;
      EXPECT_TRUE(std::any_of(values.begin(), values.end(), [](double v) { return v != 0; }))
          << parameter.name;
    }
  }
}

TEST(Transformer, parameters_have_tidy_unique_names) {
  Generator generator(1);
  Transformer model(tiny_options(), generator);
  std::set<std::string> names;
  for (const nn::NamedParameter& parameter : model.parameters())
    EXPECT_TRUE(names.insert(parameter.name).second);
  for (const char* name :
       {"source_embedding.weight", "target_embedding.weight", "encoder.0.self_attention_norm.weight",
        "encoder.1.feed_forward.up.weight", "decoder.1.cross_attention_norm.bias",
        "decoder.0.feed_forward.down.bias", "encoder.norm.weight", "decoder.norm.bias"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  const auto starts = [&](const std::string& prefix) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& n) { return n.starts_with(prefix); });
  };
  EXPECT_TRUE(starts("encoder.0.self_attention."));
  EXPECT_TRUE(starts("decoder.1.cross_attention."));
  EXPECT_FALSE(starts("output."));
}

TEST(Transformer, tied_embeddings_are_one_tensor) {
  TransformerOptions options = tiny_options();
  options.source_vocab = options.target_vocab;
  const auto count = [](TransformerOptions o) {
    Generator generator(1);
    return Transformer(o, generator).parameter_count();
  };
  options.share_source = true;
  const std::int64_t shared = count(options);
  options.share_source = false;
  const std::int64_t tied = count(options);
  options.tie_embeddings = false;
  const std::int64_t table = options.target_vocab * options.model_dim;
  EXPECT_EQ(tied, shared + table);
  EXPECT_EQ(count(options), tied + table);

  Generator generator(1);
  options = tiny_options();
  Transformer model(options, generator);
  // Doubling the table doubles the logits of a given hidden state.
  const Tensor hidden = randn({2, options.model_dim}, generator);
  const std::vector<float> before = model.logits(hidden).to_vector<float>();
  auto* values = model.target_embedding().data<float>();
  for (std::int64_t i = 0; i < model.target_embedding().numel(); ++i) values[i] *= 2;
  model.target_embedding().bump_version();
  const std::vector<float> after = model.logits(hidden).to_vector<float>();
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i], 2 * before[i]);
}

TEST(Transformer, starts_near_the_uniform_distribution) {
  Generator generator(4);
  Transformer model(tiny_options(), generator);
  const double loss =
      model.loss(batch_of(random_sentences(20, 9, 19, 1), random_sentences(20, 9, 19, 2))).item<float>();
  // Logits of about unit variance cost about half a nat over log V.
  EXPECT_GT(loss, 0.5 * std::log(19.0));
  EXPECT_LT(loss, std::log(19.0) + 2);
}

std::vector<std::vector<double>> gradients(TransformerOptions options, bool checkpointed, bool training) {
  options.checkpoint_activations = checkpointed;
  Generator generator(3), noise(11);
  Transformer model(options, generator);
  if (training) model.train(noise);
  const Tensor loss = model.loss(batch_of(random_sentences(6, 9, 19, 1), random_sentences(6, 7, 19, 2)), 0.1);
  loss.backward();
  std::vector<std::vector<double>> out{testing::values_of(loss)};
  for (const nn::NamedParameter& parameter : model.parameters())
    out.push_back(testing::values_of(parameter.tensor.grad()));
  return out;
}

TEST(Transformer, checkpointing_changes_no_bit_of_loss_or_gradient) {
  for (TransformerOptions options : variants()) {
    options.dropout = 0.2;
    options.attention_dropout = 0.1;
    options.activation_dropout = 0.1;
    EXPECT_TRUE(gradients(options, true, true) == gradients(options, false, true));
  }
}

TEST(Transformer, dropout_acts_in_training_alone) {
  TransformerOptions options = tiny_options();
  options.dropout = 0.3;
  EXPECT_NE(gradients(options, false, true)[0], gradients(options, false, false)[0]);
  EXPECT_TRUE(gradients(options, false, false) == gradients(tiny_options(), false, false));
}

TEST(Transformer, bfloat16_stays_close_to_float32) {
  const auto batch = batch_of(random_sentences(6, 9, 19, 1), random_sentences(6, 7, 19, 2));
  for (TransformerOptions options : variants()) {
    Generator first(3), second(3);
    Transformer full(options, first);
    options.precision = DType::bfloat16;
    Transformer half(options, second);
    const Tensor got = logits_of(half, batch);
    EXPECT_EQ(got.dtype(), DType::float32);
    // Each of 4 layers stores about 7 activations with a relative error of 2^-9 at most; independent, they
    // add as squares, and an element may lie four deviations out.
    expect_near_all(got, logits_of(full, batch), 4 * std::sqrt(4 * 7.0) * 0x1p-9);
    half.loss(batch).backward();
    for (const nn::NamedParameter& parameter : half.parameters()) {
      EXPECT_EQ(parameter.tensor.dtype(), DType::float32) << parameter.name;
      EXPECT_EQ(parameter.tensor.grad().dtype(), DType::float32) << parameter.name;
    }
  }
}

TEST(Transformer, inspected_attention_is_a_distribution_and_causal) {
  Generator generator(3);
  Transformer model(tiny_options(), generator);
  const models::AttentionMaps maps = model.inspect_attention({5, 6, 7, 8, 9}, {1, 4, 5});
  ASSERT_EQ(maps.encoder_self.size(), 2u);
  ASSERT_EQ(maps.decoder_self.size(), 2u);
  ASSERT_EQ(maps.cross.size(), 2u);
  EXPECT_EQ(maps.encoder_self[0].shape(), (Shape{4, 5, 5}));
  EXPECT_EQ(maps.decoder_self[1].shape(), (Shape{4, 3, 3}));
  EXPECT_EQ(maps.cross[1].shape(), (Shape{4, 3, 5}));
  const std::vector<float> cross = maps.cross[1].to_vector<float>();
  for (std::size_t row = 0; row < 12; ++row) {
    double total = 0;
    for (std::size_t s = 0; s < 5; ++s) total += cross[row * 5 + s];
    EXPECT_NEAR(total, 1, 8 * 0x1p-24);
  }
  const std::vector<float> self = maps.decoder_self[0].to_vector<float>();
  for (std::size_t h = 0; h < 4; ++h) {
    EXPECT_EQ(self[h * 9 + 1], 0);
    EXPECT_EQ(self[h * 9 + 2], 0);
    EXPECT_EQ(self[h * 9 + 5], 0);
  }
}

void expect_error(const std::function<void()>& body, const std::string& part) {
  try {
    body();
    FAIL() << "no error; want one with: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Transformer, errors_name_what_is_wrong) {
  Generator generator(3);
  Transformer model(tiny_options(), generator);
  expect_error(
      [&] {
        logits_of(model, batch_of({{5}, {5, 23}}, {{4}, {4}}));
      },
      "source token 23 at position 1 of sentence 1 is outside the vocabulary of 23");
  expect_error([&] { logits_of(model, batch_of({{5}}, {{-4}})); }, "target token -4");
  expect_error([&] { logits_of(model, batch_of({std::vector<std::int32_t>(41, 5)}, {{4}})); },
               "max_length = 40");
  expect_error([&] { model.encode(from(std::vector<std::int32_t>{5, 6}, {2}), {0, 3}); }, "offsets");
  expect_error([&] { model.encode(from(std::vector<std::int32_t>{5, 6}, {2}), {0, 3, 1, 2}); }, "offsets");
  expect_error([&] { model.encode(zeros({2}), {0, 2}); }, "int32");
  Generator noise(1);
  model.train(noise);
  expect_error([&] { model.inspect_attention({5}, {1}); }, "eval()");

  const auto refused = [](const std::function<void(TransformerOptions&)>& change, const std::string& part) {
    TransformerOptions options = tiny_options();
    change(options);
    expect_error(
        [&] {
          Generator g(1);
          Transformer broken(options, g);
        },
        part);
  };
  refused([](auto& o) { o.share_source = true; }, "one vocabulary");
  refused([](auto& o) { o.dropout = 1; }, "dropout is 1");
  refused([](auto& o) { o.target_vocab = 0; }, "target_vocab is 0");
  refused([](auto& o) { o.precision = DType::float64; }, "precision");
  refused([](auto& o) { o.heads = 5; }, "heads");
}

}  // namespace
}  // namespace headway
