// Rotary positions in the attention layer: nn::MultiHeadAttention with Position::rope().
#include <headway/nn/multi_head_attention.h>

#include <gmock/gmock.h>

#include <cmath>

#include <headway/autograd/tape.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/rotary.h>
#include <headway/ops/softmax.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway::nn {
namespace {

using headway::testing::expect_bitwise_equal;
using headway::testing::expect_close;
using headway::testing::random;

std::vector<MultiHeadAttentionOptions> layers() {
  const Position far = Position::rope({.base = 100, .pairs = RopePairs::interleaved, .scaling = 2});
  return {{.model_dim = 24, .heads = 4, .position = Position::rope()},
          {.model_dim = 24, .heads = 6, .kv_heads = 2, .softcap = 3, .position = far},
          {.model_dim = 20,
           .heads = 3,
           .head_dim = 7,
           .value_head_dim = 5,
           .position = Position::rope({.dims = 4})}};
}

TEST(MultiHeadAttentionRope, is_the_formula_written_out_head_by_head) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 12, .heads = 3, .position = Position::rope({.base = 50})},
                           generator);
  const Tensor x = random({6, 12}, 1, DType::float64);
  Tensor total;
  for (std::int64_t h = 0; h < 3; ++h) {
    const auto head = layer.head(h);
    const auto wide = [](const Tensor& t) { return cast(t.detach(), DType::float64); };
    const auto turned = [&](const Tensor& weight) {
      const Tensor rows = reshape(linear(x, wide(weight)), {6, 1, 4});
      return reshape(rotary(rows, {.rope = {.base = 50}, .offsets = {0, 6}}), {6, 4});
    };
    const Tensor scores = matmul(turned(head.query_weight), transpose(turned(head.key_weight), 0, 1));
    const Tensor weights = softmax(scale(scores, 1 / std::sqrt(4.0)));
    const Tensor part =
        linear(matmul(weights, linear(x, wide(head.value_weight))), wide(contiguous(head.output_weight)));
    total = total.defined() ? add(total, part) : part;
  }
  expect_close(layer(cast(x, DType::float32)), total, DType::float32, {0, 64}, "output");
}

TEST(MultiHeadAttentionRope, split_and_combined_are_the_same_function_with_the_same_gradients) {
  for (const MultiHeadAttentionOptions& options : layers()) {
    const auto run = [&](Projection projection) {
      Generator generator(1);
      MultiHeadAttention layer(options, generator);
      layer.to(projection);
      const Tensor x = require_grad(random({2, 9, options.model_dim}, 1, DType::float32));
      const Tensor out = layer(x, {.mask = Mask::causal()});
      sum(mul(out, random(out.shape(), 9, DType::float32))).backward();
      return std::vector<Tensor>{out, x.grad()};
    };
    const auto combined = run(Projection::combined), split = run(Projection::split);
    // The same sums in other kernels: a few roundings of sums of C terms.
    expect_close(split[0], combined[0], DType::float32, {0, 64}, "output");
    expect_close(split[1], combined[1], DType::float32, {0, 96}, "input gradient");
  }
}

TEST(MultiHeadAttentionRope, packed_sequences_count_their_own_positions) {
  for (const MultiHeadAttentionOptions& options : layers()) {
    Generator generator(2);
    MultiHeadAttention layer(options, generator);
    const Tensor x = random({2, 70, options.model_dim}, 1, DType::float32);
    const Tensor padded = layer(x, {.mask = Mask::padding({70, 33})});
    const Tensor rows = slice(reshape(x, {140, options.model_dim}), 0, 0, 103);
    const Tensor packed = layer(rows, {.query_offsets = {0, 70, 103}});
    // Attention is the same to the bit; oneDNN may cut the projections of 140 and of 103 rows differently.
    expect_close(packed, slice(reshape(padded, {140, options.model_dim}), 0, 0, 103), DType::float32, {0, 64},
                 "rows");
  }
}

TEST(MultiHeadAttentionRope, stepping_over_a_cache_equals_the_whole_causal_pass) {
  for (const MultiHeadAttentionOptions& options : layers()) {
    for (const Projection projection : {Projection::combined, Projection::split}) {
      Generator generator(3);
      MultiHeadAttention layer(options, generator);
      layer.to(projection);
      const NoGrad no_grad;
      const Tensor x = random({3, 40, options.model_dim}, 1, DType::float32);
      const Tensor whole = layer(x, {.mask = Mask::causal()});
      KeyValueCache cache;
      for (std::int64_t t = 0; t < 40;) {  // in pieces of one and three
        const std::int64_t next = std::min<std::int64_t>(t + (t % 2 ? 3 : 1), 40);
        const Tensor y = layer.step(contiguous(slice(x, 1, t, next)), cache);
        expect_close(y, slice(whole, 1, t, next), DType::float32, {0, 64}, "step");
        t = next;
      }
    }
  }
}

TEST(MultiHeadAttentionRope, a_cache_counts_positions_of_each_row_by_itself) {
  Generator generator(3);
  MultiHeadAttention layer(layers()[1], generator);
  const NoGrad no_grad;
  const Tensor past = random({3, 5, 24}, 1, DType::float32), now = random({3, 2, 24}, 2, DType::float32);
  KeyValueCache cache;
  layer.step(past, cache);
  cache.reorder({2, 0, 2});
  const Tensor got = layer.step(now, cache);
  const std::int64_t from_rows[] = {2, 0, 2};
  for (std::int64_t r = 0; r < 3; ++r) {
    const std::int64_t before = from_rows[r];
    const Tensor whole = concat({slice(past, 0, before, before + 1), slice(now, 0, r, r + 1)}, 1);
    expect_close(slice(got, 0, r, r + 1), slice(layer(whole, {.mask = Mask::causal()}), 1, 5, 7),
                 DType::float32, {0, 64}, "row");
  }
  try {
    layer.step(slice(now, 0, 0, 2), cache);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "KeyValueCache: new positions for 2 rows; the cache has 3");
  }
}

TEST(MultiHeadAttentionRope, a_memory_has_no_distances_and_is_refused) {
  Generator generator(1);
  MultiHeadAttention layer({.model_dim = 16, .heads = 2, .position = Position::rope()}, generator);
  const Tensor x = random({2, 3, 16}, 1, DType::float32), memory = random({2, 5, 16}, 2, DType::float32);
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(
      message([&] { layer(x, memory); }),
      "MultiHeadAttention: position rope in cross-attention: the key input is another tensor than the query "
      "input, and positions of two sequences have no distance; want a layer without position (on one "
      "common axis: rotary() with position_ids, then attention())");
  EXPECT_THAT(message([&] { layer.project(memory, memory); }), ::testing::HasSubstr("in cross-attention"));
  EXPECT_THAT(message([&] { layer.attend(x, ProjectedMemory{}); }),
              ::testing::HasSubstr("in cross-attention"));
  // Values alone may come from elsewhere: the keys stand where the queries do.
  EXPECT_EQ(layer.attend(x, x, random({2, 3, 16}, 3, DType::float32)).output.shape().str(), "[2, 3, 16]");
}

TEST(MultiHeadAttentionRope, heads_that_cannot_turn_are_refused_when_the_layer_is_made) {
  Generator generator(1);
  const auto make = [&](const RopeOptions& rope) {
    MultiHeadAttention({.model_dim = 15, .heads = 3, .position = Position::rope(rope)}, generator);
  };
  EXPECT_THROW(make({}), Error);
  EXPECT_THROW(make({.dims = 6}), Error);
  EXPECT_NO_THROW(make({.dims = 4}));
}

}  // namespace
}  // namespace headway::nn
