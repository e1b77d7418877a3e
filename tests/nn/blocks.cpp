#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/nn/decoder_layer.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "support/compare.h"

namespace headway::nn {
namespace {

using testing::expect_bitwise_equal;
using testing::expect_close;

LayerOptions small(NormPlacement placement) {
  return {.model_dim = 16, .heads = 2, .feed_forward_dim = 24, .norm = placement};
}

Tensor value_of(const Stream& stream) {
  return stream.update.defined() ? add(stream.sum, stream.update) : stream.sum;
}

// Two ways of adding 24 terms in each of 6 products.
constexpr testing::Tolerance kReordered{.roundings = 6 * 24, .steps = 8, .floor = 1};

TEST(Sublayer, pre_norm_adds_to_the_stream_what_f_makes_of_its_norm) {
  Generator generator(1);
  const LayerNorm norm(16);
  const Tensor x = randn({5, 16}, generator), pending = randn({5, 16}, generator);
  const auto twice = [](const Tensor& t) { return scale(t, 2); };
  const Stream out = sublayer(norm, {x, pending}, {.placement = NormPlacement::pre}, twice);
  const Tensor sum = add(x, pending);
  expect_bitwise_equal(out.sum, sum, "sum");
  expect_close(out.update, scale(norm(sum).output, 2), DType::float32, {.steps = 8}, "update");
}

TEST(Sublayer, post_norm_normalizes_the_sum) {
  Generator generator(1);
  const LayerNorm norm(16);
  const Tensor x = randn({5, 16}, generator);
  const auto twice = [](const Tensor& t) { return scale(t, 2); };
  const Stream out = sublayer(norm, {x, {}}, {.placement = NormPlacement::post}, twice);
  EXPECT_FALSE(out.update.defined());
  expect_close(out.sum, norm(add(x, scale(x, 2))).output, DType::float32, {.steps = 8}, "sum");
}

TEST(Sublayer, dropout_falls_on_the_update_alone) {
  Generator noise(3);
  const LayerNorm norm(64);
  const Stream stream{full({4, 64}, 3), ones({4, 64})};
  const auto sum = normalize(norm, stream, {.dropout = 0.5, .generator = &noise}).sum.to_vector<float>();
  int kept = 0;
  for (const float v : sum) {
    EXPECT_TRUE(v == 3.f || v == 5.f) << v;  // dropped, or 1/(1 - p) added
    kept += v == 5.f;
  }
  // 256 fair coins: five deviations of 8.
  EXPECT_NEAR(kept, 128, 40);
}

TEST(Sublayer, settled_streams_are_the_sum_of_their_parts) {
  Generator generator(1), noise(3);
  const Tensor x = randn({5, 16}, generator), pending = randn({5, 16}, generator);
  expect_bitwise_equal(settle({x, {}}, {}), x, "without an update");
  expect_bitwise_equal(settle({x, pending}, {.dropout = 0.5}), add(x, pending), "in evaluation");
  const auto sum = settle({full({4, 64}, 3), ones({4, 64})}, {.dropout = 0.5, .generator = &noise});
  for (const float v : sum.to_vector<float>()) EXPECT_TRUE(v == 3.f || v == 5.f) << v;
}

TEST(EncoderLayer, is_by_itself_what_it_adds_to_the_stream) {
  for (const NormPlacement placement : {NormPlacement::pre, NormPlacement::post}) {
    Generator generator(1);
    EncoderLayer layer(small(placement), generator);
    const Tensor x = randn({7, 16}, generator);
    expect_bitwise_equal(layer(x, {0, 3, 7}), value_of(layer(Stream{x, {}}, {0, 3, 7})), "encoder");
    DecoderLayer decoder(small(placement), generator);
    const DecoderInput input{{0, 3, 7}, randn({5, 16}, generator), {0, 1, 5}};
    expect_bitwise_equal(decoder(x, input), value_of(decoder(Stream{x, {}}, input)), "decoder");
  }
}

TEST(EncoderLayer, packed_sequences_do_not_see_each_other) {
  for (const NormPlacement placement : {NormPlacement::pre, NormPlacement::post}) {
    Generator generator(1);
    EncoderLayer layer(small(placement), generator);
    const Tensor x = randn({9, 16}, generator);
    const Tensor together = value_of(layer({x, {}}, {0, 4, 4, 9}));
    expect_close(slice(together, 0, 0, 4), value_of(layer({slice(x, 0, 0, 4), {}}, {0, 4})), DType::float32,
                 kReordered, "first");
    expect_close(slice(together, 0, 4, 9), value_of(layer({slice(x, 0, 4, 9), {}}, {0, 5})), DType::float32,
                 kReordered, "last");
  }
}

TEST(EncoderLayer, pre_norm_block_is_its_formula) {
  Generator generator(1);
  EncoderLayer layer(small(NormPlacement::pre), generator);
  // The same draws in the same order make the same parts.
  Generator again(1);
  MultiHeadAttention attention(attention_options(small(NormPlacement::pre)), again);
  const FeedForward network(feed_forward_options(small(NormPlacement::pre)), again);
  const LayerNorm norm(16);
  const Tensor x = randn({6, 16}, generator);
  const Tensor attended = add(x, attention(norm(x).output));
  expect_close(value_of(layer({x, {}}, {0, 6})), add(attended, network(norm(attended).output)),
               DType::float32, kReordered, "y");
}

TEST(DecoderLayer, post_norm_block_is_its_formula) {
  Generator generator(1), again(1);
  const LayerOptions options = small(NormPlacement::post);
  DecoderLayer layer(options, generator);
  MultiHeadAttention self(attention_options(options), again), cross(attention_options(options), again);
  const FeedForward network(feed_forward_options(options), again);
  const LayerNorm norm(16);
  const Tensor x = randn({6, 16}, generator), memory = randn({4, 16}, generator);
  AttendOptions causal;
  causal.mask = Mask::causal();
  const Tensor one = norm(add(x, self(x, causal))).output;
  const Tensor two = norm(add(one, cross(one, memory))).output;
  const Tensor want = norm(add(two, network(two))).output;
  expect_close(value_of(layer({x, {}}, {{0, 6}, memory, {0, 4}})), want, DType::float32, kReordered, "y");
}

TEST(DecoderLayer, steps_with_shared_memory_equal_the_whole) {
  const NoGrad no_grad;
  for (const NormPlacement placement : {NormPlacement::pre, NormPlacement::post}) {
    Generator generator(1);
    DecoderLayer layer(small(placement), generator);
    const Tensor memory = randn({7, 16}, generator);
    const Tensor x =
        randn({3, 4, 16}, generator);  // hypotheses 0 and 1 belong to source 0, hypothesis 2 to source 2
    BlockState state;
    state.self.reserve_rows(3);
    state.memory.reserve_rows(3);
    layer.remember(memory, {0, 3, 5, 7}, state, {0, 1, 2});
    // Hypotheses 0 and 1 attend to memory 0 as one block of queries.
    const BlockInput input{.offsets = {0, 1, 2, 3},
                           .rows = {0, 1, 2},
                           .memory_rows = {0, 2},
                           .memory_queries = {0, 2, 3},
                           .state = &state};
    const auto row = [&](std::int64_t hypothesis) {
      return reshape(slice(x, 0, hypothesis, hypothesis + 1), {4, 16});
    };
    const std::vector<Tensor> sources{slice(memory, 0, 0, 3), slice(memory, 0, 0, 3), slice(memory, 0, 5, 7)};
    std::vector<Tensor> steps;
    for (std::int64_t t = 0; t < 4; ++t) {
      steps.push_back(value_of(static_cast<TransformerBlock&>(layer)(
          {contiguous(reshape(slice(x, 1, t, t + 1), {3, 16})), {}}, input)));
    }
    for (std::int64_t h = 0; h < 3; ++h) {
      const Tensor& source = sources[static_cast<std::size_t>(h)];
      const Tensor whole = value_of(layer({row(h), {}}, {{0, 4}, source, {0, source.size(0)}}));
      for (std::int64_t t = 0; t < 4; ++t) {
        expect_close(slice(steps[static_cast<std::size_t>(t)], 0, h, h + 1), slice(whole, 0, t, t + 1),
                     DType::float32, kReordered, "step");
      }
    }
  }
}

}  // namespace
}  // namespace headway::nn
