// attention() with Position::rope(): where queries and keys are turned, and what else is as without it.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <headway/autograd/tape.h>
#include <headway/ops/explain.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/rotary.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::expect_bitwise_equal;
using testing::expect_close;
using testing::random;
using Tensors = std::vector<Tensor>;

const RopeOptions kRope{.base = 200, .dims = 12};

// Output and the gradients of the inputs.
Tensors run(const std::function<Tensor(const Tensors&)>& attend, const Tensors& inputs) {
  Tensors leaves;
  for (const Tensor& input : inputs) leaves.push_back(require_grad(input.detach()));
  Tensors out{attend(leaves)};
  sum(mul(out[0], random(out[0].shape(), 42, out[0].dtype()))).backward();
  for (const Tensor& leaf : leaves) out.push_back(leaf.grad());
  return out;
}

void expect_equal(const Tensors& got, const Tensors& want) {
  for (std::size_t i = 0; i < want.size(); ++i)
    expect_bitwise_equal(got[i], want[i], i == 0 ? "output" : "gradient " + std::to_string(i - 1));
}

TEST(AttentionRope, is_rotary_on_queries_and_keys_and_then_attention) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    const Tensors in = {random({2, 30, 4, 16}, 1, dtype), random({2, 47, 2, 16}, 2, dtype),
                        random({2, 47, 2, 10}, 3, dtype)};
    // Query i of 30 stands at i + 17 of 47, and in a cache of 40 and 30 positions at i + 10 and i.
    const auto by_hand = [](const std::vector<std::int64_t>& starts,
                            const std::vector<std::int64_t>& lengths) {
      return [=](const Tensors& x) {
        return attention(rotary(x[0], {.rope = kRope, .starts = starts}), rotary(x[1], {.rope = kRope}), x[2],
                         {.mask = Mask::causal(), .key_lengths = lengths})
            .output;
      };
    };
    const auto rope = [](const std::vector<std::int64_t>& lengths) {
      return [=](const Tensors& x) {
        return attention(x[0], x[1], x[2],
                         {.mask = Mask::causal(), .position = Position::rope(kRope), .key_lengths = lengths})
            .output;
      };
    };
    expect_equal(run(rope({}), in), run(by_hand({17}, {}), in));
    expect_equal(run(rope({40, 30}), in), run(by_hand({10, 0}, {40, 30}), in));
  }
}

TEST(AttentionRope, packed_sequences_are_turned_each_from_its_own_start) {
  const std::vector<std::int64_t> queries = {0, 5, 5, 25}, keys = {0, 20, 23, 40};
  const Tensors in = {random({25, 2, 16}, 1, DType::float32), random({40, 2, 16}, 2, DType::float32),
                      random({40, 2, 8}, 3, DType::float32)};
  const AttentionOptions options{.mask = Mask::window(9, 0), .query_offsets = queries, .key_offsets = keys};
  const auto by_hand = [&](const Tensors& x) {
    return attention(rotary(x[0], {.rope = kRope, .starts = {15, 0, -3}, .offsets = queries}),
                     rotary(x[1], {.rope = kRope, .offsets = keys}), x[2], options)
        .output;
  };
  const auto rope = [&](const Tensors& x) {
    AttentionOptions turned = options;
    turned.position = Position::rope(kRope);
    return attention(x[0], x[1], x[2], turned).output;
  };
  expect_equal(run(rope, in), run(by_hand, in));
}

TEST(AttentionRope, packed_equals_padded_to_the_bit) {
  const std::vector<std::int64_t> lengths = {70, 5};
  const Tensor x = random({2, 70, 2, 16}, 1, DType::float32);
  const AttentionOptions options{.mask = Mask::causal(), .position = Position::rope(kRope)};
  AttentionOptions padded = options, packed = options;
  padded.mask = Mask::causal() & Mask::padding(lengths);
  packed.query_offsets = packed.key_offsets = {0, 70, 75};
  const Tensor rows = slice(reshape(x, {140, 2, 16}), 0, 0, 75);
  expect_bitwise_equal(attention(rows, rows, rows, packed).output,
                       slice(reshape(attention(x, x, x, padded).output, {140, 2, 16}), 0, 0, 75), "rows");
}

TEST(AttentionRope, combined_columns_give_the_bits_and_gradients_of_separate_heads) {
  const HeadsLayout layout{4, 2, 16, 10};
  const AttentionOptions options{.mask = Mask::causal(), .position = Position::rope(kRope)};
  const auto heads = [](const Tensor& x, std::int64_t begin, std::int64_t count, std::int64_t dim) {
    return reshape(slice(x, -1, begin, begin + count * dim), {x.size(0), x.size(1), count, dim});
  };
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    const Tensors slab = {random({2, 33, 64 + 32 + 20}, 1, dtype)};
    expect_equal(
        run([&](const Tensors& x) { return attention_combined(x[0], layout, options).output; }, slab),
        run(
            [&](const Tensors& x) {
              return attention(heads(x[0], 0, 4, 16), heads(x[0], 64, 2, 16), heads(x[0], 96, 2, 10), options)
                  .output;
            },
            slab));
    const Tensors two = {random({2, 9, 64}, 1, dtype), random({2, 33, 32 + 20}, 2, dtype)};
    expect_equal(
        run([&](const Tensors& x) { return attention_combined(x[0], x[1], layout, options).output; }, two),
        run(
            [&](const Tensors& x) {
              return attention(heads(x[0], 0, 4, 16), heads(x[1], 0, 2, 16), heads(x[1], 32, 2, 10), options)
                  .output;
            },
            two));
  }
}

TEST(AttentionRope, shifting_all_positions_changes_nothing_but_roundings) {
  const Tensor q = random({1, 50, 2, 32}, 1, DType::float32), k = random({1, 50, 2, 32}, 2, DType::float32),
               v = random({1, 50, 2, 32}, 3, DType::float32);
  const Tensor at_zero = attention(q, k, v, {.mask = Mask::causal(), .position = Position::rope()}).output;
  const Tensor far =
      attention(rotary(q, {.starts = {100000}}), rotary(k, {.starts = {100000}}), v, {.mask = Mask::causal()})
          .output;
  // A score errs by 10 roundings of |q|·|k|/sqrt(D), about sqrt(D) = 5.7 and surely below 4 times that, on
  // either side; a weight by as much of itself, and the output by at most twice that of the largest value.
  expect_close(far, at_zero, DType::float32, {0, 2 * 2 * 10 * 4 * 5.7 + 64}, "output");
  // And positions do count.
  const auto plain = testing::values_of(attention(q, k, v, {.mask = Mask::causal()}).output),
             turned = testing::values_of(at_zero);
  double difference = 0;
  for (std::size_t i = 0; i < plain.size(); ++i)
    difference = std::max(difference, std::abs(plain[i] - turned[i]));
  EXPECT_GT(difference, 0.01);
}

TEST(AttentionRope, the_last_queries_alone_see_what_they_saw_among_all) {
  const Tensor q = random({2, 40, 2, 16}, 1, DType::float32), k = random({2, 40, 2, 16}, 2, DType::float32),
               v = random({2, 40, 2, 16}, 3, DType::float32);
  const AttentionOptions options{.mask = Mask::causal(), .position = Position::rope(kRope)};
  const Tensor all = attention(q, k, v, options).output;
  expect_close(attention(slice(q, 1, 33, 40), k, v, options).output, slice(all, 1, 33, 40), DType::float32,
               {0, 96}, "last queries");
}

TEST(AttentionRope, a_nan_in_a_hidden_key_reaches_nothing) {
  const Tensor q = random({1, 70, 2, 16}, 1, DType::float32), k = random({1, 100, 2, 16}, 2, DType::float32),
               v = random({1, 100, 2, 16}, 3, DType::float32);
  const Tensor bad = from(k.to_vector<float>(), k.shape());
  for (int c = 0; c < 32; ++c) bad.data<float>()[40 * 32 + c] = std::numeric_limits<float>::quiet_NaN();
  const Tensor hidden = full({100}, 0, DType::boolean);
  hidden.data<bool>()[40] = true;
  const AttentionOptions options{.mask = Mask::deny(hidden), .position = Position::rope()};
  const auto attend = [&](const Tensors& x) { return attention(x[0], x[1], x[2], options).output; };
  expect_equal(run(attend, {q, bad, v}), run(attend, {q, k, v}));
}

TEST(AttentionRope, what_does_not_fit_is_refused_in_attentions_name) {
  const auto message = [](const Tensor& q, const Tensor& k, const AttentionOptions& options) -> std::string {
    try {
      attention(q, k, k, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const Tensor odd = zeros({1, 3, 2, 5});
  const AttentionOptions rope{.position = Position::rope()};
  EXPECT_EQ(message(odd, odd, rope),
            "attention: heads have dimension 5, and columns turn in pairs; want an even one, or dims given");
  EXPECT_EQ(message(odd, odd, {.position = Position::rope({.dims = 8})}),
            "attention: dims is 8, heads have dimension 5; want at most that");
  EXPECT_EQ(message(zeros({3, 2, 4}), zeros({3, 2, 4}), rope).substr(0, 36),
            "attention: query_offsets are missing");
  EXPECT_EQ(message(zeros({1, 3, 4, 8}), zeros({1, 3, 3, 8}), rope).substr(0, 64),
            "attention: key has 3 heads, query has 4; want equal or a divisor");
  EXPECT_THROW(Position::rope({.dims = 3}), Error);
  EXPECT_THROW(Position::rope({.base = -1}), Error);
}

TEST(AttentionRope, explain_says_that_query_and_key_are_turned_first) {
  const Tensor x = Tensor::empty({2, 256, 4, 16}, DType::float32, Device::meta);
  const auto told = explain_attention(x, x, x, {.position = Position::rope(kRope)});
  EXPECT_EQ(told.path, "rotary on query and key, then fused, bounds by arithmetic");
  EXPECT_THAT(
      told.str(),
      ::testing::HasSubstr("because   rope(base 200, dims 12) rotates query and key first, 12 of 16 columns "
                           "of each head: into copies of 0.25 MiB, from a table of 256 positions"));
  EXPECT_EQ(told.computed_pairs, explain_attention(x, x, x, {}).computed_pairs);
}

}  // namespace
}  // namespace headway
