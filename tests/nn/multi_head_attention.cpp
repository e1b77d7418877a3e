#include <headway/nn/multi_head_attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include <headway/autograd/tape.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/softmax.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway::nn {
namespace {

using headway::testing::expect_bitwise_equal;
using headway::testing::expect_close;
using headway::testing::random;

struct Case {
  const char* name;
  MultiHeadAttentionOptions options;
};
std::vector<Case> cases() {
  return {{"plain", {.model_dim = 24, .heads = 4}},
          {"groups", {.model_dim = 24, .heads = 6, .kv_heads = 2}},
          {"one key head", {.model_dim = 24, .heads = 4, .kv_heads = 1, .bias = false}},
          {"own dims", {.model_dim = 20, .heads = 3, .head_dim = 8, .value_head_dim = 5}},
          {"softcap and distances",
           {.model_dim = 24, .heads = 6, .kv_heads = 3, .softcap = 2, .position = Position::alibi()}},
          {"key and value inputs", {.model_dim = 24, .heads = 4, .key_dim = 10, .value_dim = 14}}};
}

// Inputs that fit the options: query [2, 5, C], key and value [2, 7, ...]; self-attention where widths allow.
struct Inputs {
  Tensor query, key, value;
};
Inputs inputs_for(const MultiHeadAttentionOptions& o) {
  const auto width = [&](std::int64_t dim) { return dim == 0 ? o.model_dim : dim; };
  return {random({2, 5, o.model_dim}, 1, DType::float32), random({2, 7, width(o.key_dim)}, 2, DType::float32),
          random({2, 7, width(o.value_dim)}, 3, DType::float32)};
}

TEST(MultiHeadAttention, split_and_combined_are_the_same_function_with_the_same_gradients) {
  for (const Case& test : cases()) {
    Generator generator(1);
    MultiHeadAttention combined(test.options, generator);
    Generator again(1);
    MultiHeadAttention split(test.options, again);
    split.to(Projection::split);
    const Inputs in = inputs_for(test.options);
    std::vector<Tensor> leaves;
    const auto run = [&](MultiHeadAttention& layer) {
      leaves = {require_grad(in.query.detach()), require_grad(in.key.detach()),
                require_grad(in.value.detach())};
      const Tensor out = layer.attend(leaves[0], leaves[1], leaves[2]).output;
      sum(mul(out, random(out.shape(), 9, DType::float32))).backward();
      return out;
    };
    const Tensor a = run(combined);
    const std::vector<Tensor> a_leaves = leaves;
    const Tensor b = run(split);
    // The same sums in other kernels: a few roundings of sums of C terms.
    expect_close(b, a, DType::float32, {0, 64}, std::string(test.name) + " output");
    for (std::size_t i = 0; i < 3; ++i)
      expect_close(leaves[i].grad(), a_leaves[i].grad(), DType::float32, {0, 96},
                   std::string(test.name) + " input gradient");
    std::vector<NamedParameter> gradients;
    for (const auto& p : combined.parameters()) gradients.push_back({p.name, p.tensor.grad()});
    std::map<std::string, Tensor> wanted;
    for (const auto& p : convert_projection(gradients, combined.options(), Projection::split))
      wanted[p.name] = p.tensor;
    for (const auto& p : split.parameters()) {
      ASSERT_TRUE(wanted.count(p.name)) << p.name;
      expect_close(p.tensor.grad(), wanted[p.name], DType::float32, {0, 128, 1},
                   std::string(test.name) + " " + p.name);
    }
  }
}

TEST(MultiHeadAttention, changing_the_layout_twice_gives_the_same_bits) {
  for (const Case& test : cases()) {
    Generator generator(1);
    MultiHeadAttention layer(test.options, generator);
    const auto before = layer.parameters();
    layer.to(Projection::split);
    EXPECT_EQ(layer.options().projection, Projection::split);
    EXPECT_EQ(layer.parameter_count(), [&] {
      std::int64_t count = 0;
      for (const auto& p : before) count += p.tensor.numel();
      return count;
    }());
    layer.to(Projection::combined);
    const auto after = layer.parameters();
    ASSERT_EQ(after.size(), before.size());
    for (std::size_t i = 0; i < after.size(); ++i) {
      EXPECT_EQ(after[i].name, before[i].name);
      expect_bitwise_equal(after[i].tensor, before[i].tensor, after[i].name);
    }
  }
}

TEST(MultiHeadAttention, both_layouts_start_alike) {
  Generator a(7), b(7);
  MultiHeadAttention combined({.model_dim = 64, .heads = 8}, a);
  MultiHeadAttention split({.model_dim = 64, .heads = 8, .projection = Projection::split}, b);
  for (std::int64_t h = 0; h < 8; ++h) {
    expect_bitwise_equal(combined.head(h).query_weight, split.head(h).query_weight, "query");
    expect_bitwise_equal(combined.head(h).value_weight, split.head(h).value_weight, "value");
  }
  // Xavier of one head: uniform in ±sqrt(6/(C + D)), whose mean square is a third of that bound's.
  double square = 0;
  const auto values = combined.head(0).key_weight.to_vector<float>();
  const double bound = std::sqrt(6.0 / (64 + 8));
  for (const float value : values) {
    EXPECT_LE(std::abs(static_cast<double>(value)), bound);
    square += static_cast<double>(value) * static_cast<double>(value) / static_cast<double>(values.size());
  }
  EXPECT_NEAR(square, bound * bound / 3, 0.15 * bound * bound / 3);
}

TEST(MultiHeadAttention, is_the_papers_formula_written_out_head_by_head) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 12, .heads = 3}, generator);
  for (const auto& p : layer.parameters())
    copy_into(p.tensor, random(p.tensor.shape(), 50, DType::float32, 0.3));
  const Tensor x = random({6, 12}, 1, DType::float64);
  Tensor total = cast(layer.parameters().back().tensor, DType::float64);  // the output bias
  for (std::int64_t h = 0; h < 3; ++h) {
    const auto head = layer.head(h);
    const auto wide = [](const Tensor& t) { return cast(t.detach(), DType::float64); };
    const Tensor q = linear(x, wide(head.query_weight), wide(head.query_bias)),
                 k = linear(x, wide(head.key_weight), wide(head.key_bias)),
                 v = linear(x, wide(head.value_weight), wide(head.value_bias));
    const Tensor weights = softmax(scale(matmul(q, transpose(k, 0, 1)), 1 / std::sqrt(4.0)));
    total = add(total, linear(matmul(weights, v), wide(contiguous(head.output_weight))));
  }
  expect_close(layer(cast(x, DType::float32)), total, DType::float32, {0, 64}, "output");
}

TEST(MultiHeadAttention, sliced_input_shows_each_head_its_columns_alone) {
  Generator generator(3);
  MultiHeadAttention layer(
      {.model_dim = 12, .heads = 3, .projection = Projection::split, .head_input = HeadInput::slice},
      generator);
  EXPECT_EQ(layer.head(0).query_weight.shape().str(), "[4, 4]");
  const Tensor x = random({1, 5, 12}, 1, DType::float32);
  const Tensor before = layer.attend(x, {.weights = Weights::per_head}).weights;
  x.data<float>()[5] += 1;  // a column of head 1
  const Tensor after = layer.attend(x, {.weights = Weights::per_head}).weights;
  expect_bitwise_equal(slice(after, 1, 0, 1), slice(before, 1, 0, 1), "head 0");
  expect_bitwise_equal(slice(after, 1, 2, 3), slice(before, 1, 2, 3), "head 2");
  EXPECT_NE(slice(after, 1, 1, 2).to_vector<float>(), slice(before, 1, 1, 2).to_vector<float>());
}

TEST(MultiHeadAttention, packed_padded_and_alone_agree) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 16, .heads = 2}, generator);
  const Tensor x = random({2, 5, 16}, 1, DType::float32);
  const Tensor padded = layer(x, {.mask = Mask::causal()});
  const Tensor packed = layer(reshape(x, {10, 16}), {.mask = Mask::causal(), .query_offsets = {0, 5, 10}});
  expect_bitwise_equal(reshape(padded, {10, 16}), packed, "packed");
  const Tensor alone = layer(reshape(slice(x, 0, 1, 2), {5, 16}), {.mask = Mask::causal()});
  expect_close(alone, slice(packed, 0, 5, 10), DType::float32, {0, 32}, "alone");
}

TEST(MultiHeadAttention, steps_with_a_cache_equal_one_causal_pass) {
  for (const Case& test : cases()) {
    if (test.options.key_dim != 0) continue;  // a step is self-attention
    for (const Projection projection : {Projection::combined, Projection::split}) {
      Generator generator(3);
      MultiHeadAttention layer(test.options, generator);
      layer.to(projection);
      const NoGrad no_grad;
      const std::int64_t width = test.options.model_dim;
      const Tensor x = random({3, 40, width}, 1, DType::float32);
      const Tensor whole = layer(x, {.mask = Mask::causal()});
      KeyValueCache cache;
      for (std::int64_t t = 0; t < 40;) {  // in pieces of one and three
        const std::int64_t next = std::min<std::int64_t>(t + (t % 2 ? 3 : 1), 40);
        const Tensor y = layer.step(contiguous(slice(x, 1, t, next)), cache);
        expect_close(y, slice(whole, 1, t, next), DType::float32, {0, 64}, std::string(test.name) + " step");
        t = next;
      }
      EXPECT_EQ(cache.lengths(), (std::vector<std::int64_t>{40, 40, 40}));
    }
  }
}

TEST(MultiHeadAttention, a_cache_can_drop_repeat_and_swap_rows) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 8, .heads = 2}, generator);
  const NoGrad no_grad;
  const Tensor past = random({3, 4, 8}, 1, DType::float32), now = random({3, 1, 8}, 2, DType::float32);
  KeyValueCache cache;
  layer.step(past, cache);
  cache.reorder({2, 0, 2});
  const Tensor got = layer.step(now, cache);
  const std::int64_t from_rows[] = {2, 0, 2};
  for (std::int64_t r = 0; r < 3; ++r) {
    KeyValueCache one;
    layer.step(contiguous(slice(past, 0, from_rows[r], from_rows[r] + 1)), one);
    expect_close(slice(got, 0, r, r + 1), layer.step(contiguous(slice(now, 0, r, r + 1)), one),
                 DType::float32, {0, 32}, "row");
  }
  EXPECT_THROW(cache.reorder({3}), Error);
}

TEST(KeyValueCache, takes_what_fits_and_names_what_does_not) {
  KeyValueCache cache;
  EXPECT_FALSE(cache.key().defined());
  const Tensor key = random({2, 3, 2, 4}, 1, DType::float32), value = random({2, 3, 2, 5}, 2, DType::float32);
  cache.append(key, value);
  cache.append(slice(key, 1, 0, 1), slice(value, 1, 0, 1));
  EXPECT_EQ(cache.lengths(), (std::vector<std::int64_t>{4, 4}));
  expect_bitwise_equal(slice(cache.key(), 1, 0, 4), concat({key, slice(key, 1, 0, 1)}, 1), "key");
  expect_bitwise_equal(slice(cache.value(), 1, 0, 4), concat({value, slice(value, 1, 0, 1)}, 1), "value");
  EXPECT_THROW(cache.append(value, value), Error);
  EXPECT_THROW(cache.append(key, key), Error);
  EXPECT_THROW(cache.append(key, slice(value, 1, 0, 2)), Error);
  EXPECT_THROW(cache.append(slice(key, 0, 0, 1), slice(value, 0, 0, 1)), Error);
  EXPECT_THROW(cache.append(cast(key, DType::bfloat16), value), Error);
  EXPECT_THROW(cache.append(reshape(key, {2, 3, 8}), value), Error);
  EXPECT_EQ(cache.lengths(), (std::vector<std::int64_t>{4, 4}));
}

TEST(MultiHeadAttention, a_projected_memory_equals_cross_attention) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 16, .heads = 4, .kv_heads = 2}, generator);
  const Tensor x = random({7, 16}, 1, DType::float32), memory = random({9, 16}, 2, DType::float32);
  const AttendOptions options{.query_offsets = {0, 3, 7}, .key_offsets = {0, 4, 9}};
  const Tensor direct = layer(x, memory, options);
  const Tensor stepwise =
      layer.attend(x, layer.project(memory, memory, {0, 4, 9}), {.query_offsets = {0, 3, 7}}).output;
  expect_close(stepwise, direct, DType::float32, {0, 64}, "memory");
}

TEST(MultiHeadAttention, dropout_acts_in_training_alone_and_repeats_with_the_seed) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 16, .heads = 2, .dropout = 0.5}, generator);
  const Tensor x = random({1, 20, 16}, 1, DType::float32);
  const Tensor calm = layer(x);
  Generator one(5), same(5);
  layer.train(one);
  const Tensor first = layer(x);
  layer.train(same);
  expect_bitwise_equal(layer(x), first, "same seed");
  EXPECT_NE(first.to_vector<float>(), calm.to_vector<float>());
  layer.eval();
  expect_bitwise_equal(layer(x), calm, "evaluation");
}

TEST(MultiHeadAttention, gives_a_layers_parameters_in_bfloat16_activations) {
  Generator generator(3);
  MultiHeadAttention layer({.model_dim = 32, .heads = 4}, generator);
  const Tensor x = random({2, 9, 32}, 1, DType::float32);
  const Tensor low = layer(cast(x, DType::bfloat16));
  EXPECT_EQ(low.dtype(), DType::bfloat16);
  expect_close(low, layer(cast(cast(x, DType::bfloat16), DType::float32)), DType::bfloat16, {8}, "bfloat16");
}

TEST(MultiHeadAttention, a_memory_of_another_width_is_refused_by_name) {
  Generator generator(1);
  MultiHeadAttention layer({.model_dim = 16, .heads = 2}, generator);
  try {
    layer(random({2, 3, 16}, 1, DType::float32), random({2, 3, 12}, 1, DType::float32));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "MultiHeadAttention: key input is float32 [2, 3, 12]; want [B, T, 16], or packed [N, 16]");
  }
  EXPECT_THROW(MultiHeadAttention({.model_dim = 10, .heads = 3}, generator), Error);
  EXPECT_THROW(MultiHeadAttention({.model_dim = 12, .heads = 4, .kv_heads = 3}, generator), Error);
  EXPECT_THROW(MultiHeadAttention({.model_dim = 12, .heads = 4, .head_input = HeadInput::slice}, generator),
               Error);
}

}  // namespace
}  // namespace headway::nn
