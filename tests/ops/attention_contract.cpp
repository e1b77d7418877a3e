// What the contract of attention() says beside its formula.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/ops/pointwise.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway {
namespace {

using testing::random;

Tensor checkerboard(const Shape& shape) {
  const Tensor out = Tensor::empty(shape, DType::boolean);
  // Every fifth pair and the whole of query 1 are hidden.
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    out.data<bool>()[i] = i % 5 != 0 && !(shape.rank() >= 2 && i / shape[-1] % shape[-2] == 1);
  }
  return out;
}

// ----------------------------------------------------------------------------------

struct Grads {
  Tensor output, q, k, v;
};
Grads run_all(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const Tensor a = require_grad(q.detach()), b = require_grad(k.detach()), c = require_grad(v.detach());
  const Tensor out = attention(a, b, c, options).output;
  sum(mul(out, testing::random(out.shape(), 42, out.dtype()))).backward();
  return {out, a.grad(), b.grad(), c.grad()};
}

bool finite(const Tensor& x) {
  for (const double value : testing::values_of(x)) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

TEST(Attention, fully_masked_row_gives_zero_and_gradients_of_zero) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    const Tensor q = random({1, 3, 2, 8}, 1, dtype), k = random({1, 4, 2, 8}, 2, dtype),
                 v = random({1, 4, 2, 8}, 3, dtype);
    const Tensor hidden = full({3, 4}, 0, DType::boolean);
    for (int j = 0; j < 4; ++j) hidden.data<bool>()[4 + j] = true;
    const Grads got = run_all(q, k, v, {.mask = Mask::deny(hidden)});
    EXPECT_TRUE(finite(got.output) && finite(got.q) && finite(got.k) && finite(got.v));
    for (const Tensor& x : {got.output, got.q}) {
      for (const double value : testing::values_of(slice(x, 1, 1, 2))) EXPECT_EQ(value, 0);
    }
    const auto lse = attention(q, k, v, {.mask = Mask::deny(hidden), .log_sum_exp = true}).log_sum_exp;
    EXPECT_EQ(testing::values_of(lse)[1], -std::numeric_limits<double>::infinity());
  }
}

TEST(Attention, a_bias_of_minus_infinity_is_a_mask) {
  const Tensor q = random({2, 5, 2, 8}, 1, DType::float32), k = random({2, 6, 2, 8}, 2, DType::float32),
               v = random({2, 6, 2, 8}, 3, DType::float32);
  const Tensor visible =
      checkerboard({5, 6});  // every key is seen by somebody, so both ways sum in one order
  const Tensor bias = zeros({5, 6});
  for (int i = 0; i < 30; ++i) {
    if (!visible.data<bool>()[i]) bias.data<float>()[i] = -std::numeric_limits<float>::infinity();
  }
  const Grads masked = run_all(q, k, v, {.mask = Mask::allow(visible)}),
              biased = run_all(q, k, v, {.bias = bias});
  testing::expect_bitwise_equal(biased.output, masked.output, "output");
  testing::expect_bitwise_equal(biased.q, masked.q, "dq");
  testing::expect_bitwise_equal(biased.k, masked.k, "dk");
  testing::expect_bitwise_equal(biased.v, masked.v, "dv");
}

// Both paths of the forward kernel, blocks of queries and single ones; both ways to hide.
TEST(Attention, nan_and_infinity_in_hidden_keys_and_values_reach_nothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const Tensor k = random({1, 100, 2, 8}, 2, DType::float32), v = random({1, 100, 2, 8}, 3, DType::float32);
  const Tensor hidden = full({100}, 0, DType::boolean), bias = zeros({100});
  const Tensor bad_k = from(k.to_vector<float>(), k.shape()), bad_v = from(v.to_vector<float>(), v.shape());
  for (const int j : {0, 17, 50, 99}) {
    hidden.data<bool>()[j] = true;
    bias.data<float>()[j] = -infinity;
    for (int d = 0; d < 16; ++d) {
      bad_k.data<float>()[j * 16 + d] = d % 3 == 0 ? nan : infinity;
      bad_v.data<float>()[j * 16 + d] = d % 2 == 0 ? nan : -infinity;
    }
  }
  for (const std::int64_t queries : {70, 1}) {
    const Tensor q = random({1, queries, 2, 8}, 1, DType::float32);
    for (const AttentionOptions& options :
         {AttentionOptions{.mask = Mask::deny(hidden)}, AttentionOptions{.bias = bias}}) {
      const Grads clean = run_all(q, k, v, options), got = run_all(q, bad_k, bad_v, options);
      testing::expect_bitwise_equal(got.output, clean.output, "output");
      testing::expect_bitwise_equal(got.q, clean.q, "dq");
      testing::expect_bitwise_equal(got.k, clean.k, "dk");
      testing::expect_bitwise_equal(got.v, clean.v, "dv");
    }
  }
}

TEST(Attention, a_nan_in_a_query_stays_in_the_keys_it_sees) {
  const Tensor q = random({1, 6, 1, 4}, 1, DType::float32), k = random({1, 6, 1, 4}, 2, DType::float32),
               v = random({1, 6, 1, 4}, 3, DType::float32);
  q.data<float>()[2 * 4] = std::numeric_limits<float>::quiet_NaN();
  for (const double softcap : {0., 3.}) {
    const Grads got = run_all(q, k, v, {.mask = Mask::causal(), .softcap = softcap});
    for (const Tensor& x : {got.k, got.v}) EXPECT_TRUE(finite(slice(x, 1, 3, 6)));
    EXPECT_TRUE(finite(slice(got.output, 1, 0, 2)) && finite(slice(got.output, 1, 3, 6)));
    EXPECT_FALSE(finite(slice(got.output, 1, 2, 3)));
  }
  const Tensor alone = slice(q, 1, 2, 3);  // and a single query
  EXPECT_FALSE(finite(attention(alone, k, v, {.softcap = 3}).output));
}

// A weight is right to 1.5e-7 and a tile's sum of 96 to a few roundings, whichever the tile: their
// independent errors stay below 1e-6 of the output however many keys there are. A factor between tiles that
// is not exactly 1 adds up: it was 6e-6 here.
TEST(Attention, rounding_does_not_grow_with_the_number_of_keys) {
  const Tensor q = random({1, 65, 1, 16}, 1), k = random({1, 16384, 1, 16}, 2),
               v = random({1, 16384, 1, 16}, 3);
  for (const std::int64_t queries : {65, 1}) {
    const Tensor x = slice(q, 1, 0, queries);
    const auto run = [&](DType dtype) {
      return testing::values_of(attention(cast(x, dtype), cast(k, dtype), cast(v, dtype)).output);
    };
    const auto exact = run(DType::float64), got = run(DType::float32);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      error += (got[i] - exact[i]) * (got[i] - exact[i]);
      size += exact[i] * exact[i];
    }
    EXPECT_LE(std::sqrt(error / size), 1e-6);
  }
}

TEST(Attention, enormous_logits_stay_finite) {
  for (const double size : {1e4, -1e4}) {
    const Tensor q = full({1, 9, 1, 4}, size, DType::float32), k = random({1, 9, 1, 4}, 2, DType::float32),
                 v = random({1, 9, 1, 4}, 3, DType::float32);
    const Grads got = run_all(q, k, v, {.scale = 1.0});
    EXPECT_TRUE(finite(got.output) && finite(got.q) && finite(got.k) && finite(got.v));
  }
}

TEST(Attention, no_queries_no_keys_and_no_sequences_are_fine) {
  for (const auto& [t, s] : {std::pair{0, 4}, {4, 0}, {0, 0}}) {
    const Grads got =
        run_all(random({2, t, 2, 4}, 1, DType::float32), random({2, s, 2, 4}, 2, DType::float32),
                random({2, s, 2, 4}, 3, DType::float32), {});
    for (const double value : testing::values_of(got.output)) EXPECT_EQ(value, 0);
    for (const double value : testing::values_of(got.k)) EXPECT_EQ(value, 0);
  }
  EXPECT_EQ(attention(zeros({0, 2, 4}), zeros({0, 2, 4}), zeros({0, 2, 4}),
                      {.query_offsets = {0}, .key_offsets = {0}})
                .output.numel(),
            0);
}

// [B, H, T, D] seen as [B, T, H, D], where the stride of a T of 1 is D, and not of rows.
TEST(Attention, views_by_heads_give_the_same_bits_and_gradients) {
  for (const auto& [t, s] : {std::pair{1, 6}, {4, 1}, {1, 1}, {5, 6}}) {
    for (const DType dtype : {DType::float32, DType::float64}) {
      const Tensor q = transpose(random({3, 4, t, 8}, 1, dtype), 1, 2),
                   k = transpose(random({3, 2, s, 8}, 2, dtype), 1, 2),
                   v = transpose(random({3, 2, s, 8}, 3, dtype), 1, 2);
      const auto copy = [](const Tensor& x) {
        const Tensor out = Tensor::empty(x.shape(), x.dtype());
        copy_into(out, x);
        return out;
      };
      testing::expect_bitwise_equal(attention(q, k, v).output, attention(copy(q), copy(k), copy(v)).output,
                                    "output");
      const Grads got = run_all(q, k, v, {}), want = run_all(copy(q), copy(k), copy(v), {});
      testing::expect_bitwise_equal(got.q, want.q, "dq");
      testing::expect_bitwise_equal(got.k, want.k, "dk");
      testing::expect_bitwise_equal(got.v, want.v, "dv");
    }
  }
}

TEST(Attention, packed_equals_padded_to_the_bit_with_dropout_and_causal_mask) {
  const std::vector<std::int64_t> lengths = {5, 70, 1};
  const Tensor q = random({3, 70, 2, 8}, 1, DType::float32), k = random({3, 70, 2, 8}, 2, DType::float32),
               v = random({3, 70, 2, 8}, 3, DType::float32);
  std::vector<Tensor> qs, ks, vs;
  std::vector<std::int64_t> offsets{0};
  for (std::size_t b = 0; b < 3; ++b) {
    const auto rows = [&](const Tensor& x) {
      return reshape(slice(slice(x, 0, static_cast<std::int64_t>(b), static_cast<std::int64_t>(b) + 1), 1, 0,
                           lengths[b]),
                     {lengths[b], 2, 8});
    };
    qs.push_back(rows(q));
    ks.push_back(rows(k));
    vs.push_back(rows(v));
    offsets.push_back(offsets.back() + lengths[b]);
  }
  Generator one(3), other(3);
  const Tensor packed = attention(concat(qs, 0), concat(ks, 0), concat(vs, 0),
                                  {.mask = Mask::causal(),
                                   .dropout = 0.3,
                                   .generator = &one,
                                   .query_offsets = offsets,
                                   .key_offsets = offsets})
                            .output;
  const Tensor padded =
      attention(q, k, v,
                {.mask = Mask::causal() & Mask::padding(lengths), .dropout = 0.3, .generator = &other})
          .output;
  for (std::size_t b = 0; b < 3; ++b) {
    const auto i = static_cast<std::int64_t>(b);
    testing::expect_bitwise_equal(
        slice(packed, 0, offsets[b], offsets[b + 1]),
        reshape(slice(slice(padded, 0, i, i + 1), 1, 0, lengths[b]), {lengths[b], 2, 8}), "sequence");
  }
}

TEST(Attention, causal_aligns_the_last_query_with_the_last_key_unless_told) {
  const Tensor q = random({1, 2, 1, 4}, 1, DType::float32), k = random({1, 5, 1, 4}, 2, DType::float32),
               v = random({1, 5, 1, 4}, 3, DType::float32);
  const auto seen = [&](Align align) {
    return attention(q, k, v, {.mask = Mask::causal(align), .weights = Weights::per_head})
        .weights.to_vector<float>();
  };
  const auto right = seen(Align::bottom_right), left = seen(Align::top_left);
  for (int j = 0; j < 5; ++j) {
    EXPECT_EQ(right[static_cast<std::size_t>(j)] > 0, j <= 3) << j;
    EXPECT_GT(right[static_cast<std::size_t>(5 + j)], 0) << j;
    EXPECT_EQ(left[static_cast<std::size_t>(j)] > 0, j <= 0) << j;
    EXPECT_EQ(left[static_cast<std::size_t>(5 + j)] > 0, j <= 1) << j;
  }
}

TEST(Attention, weights_are_those_before_dropout_and_their_rows_sum_to_one) {
  Generator generator(1);
  const Tensor q = random({2, 40, 4, 8}, 1, DType::float32), k = random({2, 110, 2, 8}, 2, DType::float32),
               v = random({2, 110, 2, 8}, 3, DType::float32);
  AttentionOptions options{
      .mask = Mask::causal(), .dropout = 0.5, .generator = &generator, .weights = Weights::per_head};
  const Tensor per_head = attention(q, k, v, options).weights;
  ASSERT_EQ(per_head.shape().str(), "[2, 4, 40, 110]");
  const auto values = per_head.to_vector<float>();
  for (std::size_t row = 0; row < values.size() / 110; ++row) {
    double total = 0;
    for (std::size_t j = 0; j < 110; ++j) total += static_cast<double>(values[row * 110 + j]);
    EXPECT_NEAR(total, 1, 110 * 0x1p-22);
  }
  options.weights = Weights::averaged;
  const auto averaged = attention(q, k, v, options).weights.to_vector<float>();
  for (std::size_t i = 0; i < averaged.size(); ++i) {
    const std::size_t b = i / (40 * 110), ij = i % (40 * 110);
    double mean = 0;
    for (std::size_t h = 0; h < 4; ++h) mean += static_cast<double>(values[(b * 4 + h) * 40 * 110 + ij]) / 4;
    EXPECT_NEAR(static_cast<double>(averaged[i]), mean, 0x1p-22);
  }
}

TEST(Attention, dropout_keeps_the_mean_and_repeats_itself_for_one_seed) {
  const Tensor q = zeros({1, 1, 1, 4}), k = zeros({1, 4000, 1, 4}), v = ones({1, 4000, 1, 4});
  Generator one(5), same(5);
  const Tensor a = attention(q, k, v, {.dropout = 0.25, .generator = &one}).output,
               b = attention(q, k, v, {.dropout = 0.25, .generator = &same}).output;
  testing::expect_bitwise_equal(a, b, "same seed");
  // 4000 weights, each kept with 3/4: the mean's deviation is sqrt(1/3/4000) = 0.009.
  EXPECT_NEAR(a.to_vector<float>()[0], 1, 5 * 0.0092);
  EXPECT_NE(attention(q, k, v, {.dropout = 0.25, .generator = &one}).output.to_vector<float>()[0],
            a.to_vector<float>()[0]);
}

// Peak bytes of forward and backward.
std::int64_t training_peak(std::int64_t length, const AttentionOptions& options) {
  const Tensor q = require_grad(zeros({1, length, 2, 8})), k = require_grad(zeros({1, length, 2, 8})),
               v = require_grad(zeros({1, length, 2, 8}));
  reset_peak();
  const std::int64_t before = memory_stats().current;
  sum(attention(q, k, v, options).output).backward();
  return memory_stats().peak - before;
}

TEST(Attention, training_memory_at_most_doubles_with_the_length) {
  Generator generator(1);
  const auto padding = [](std::int64_t n) { return Mask::padding({n - 100}); };
  for (int option = 0; option < 12; ++option) {
    const auto peak = [&](std::int64_t n) {
      AttentionOptions options;
      if (option == 1) options.mask = Mask::causal();
      if (option == 2) options.mask = Mask::window(100, 0);
      if (option == 3) options.mask = padding(n);
      if (option == 4) options = {.dropout = 0.1, .generator = &generator};
      if (option == 5) options = {.query_offsets = {}, .key_offsets = {}, .log_sum_exp = true};
      if (option == 6) options.mask = Mask::window(100, 0) | Mask::global({0});
      if (option == 7) options.position = Position::t5(require_grad(zeros({32, 2})));
      if (option == 8) options.softcap = 5;
      if (option == 9)
        options.position = Position::shaw(require_grad(zeros({65, 8})), require_grad(zeros({65, 8})));
      if (option == 10) options.mask = Mask::strided(64);
      if (option == 11) {
        options.position = Position::transformer_xl(require_grad(zeros({2 * n, 2, 8})), zeros({2, 8}),
                                                    require_grad(zeros({2, 8})), -n);
      }
      return training_peak(n, options);
    };
    EXPECT_LE(peak(8192), 2 * peak(4096) + 4096) << "option " << option;
  }
}

TEST(Attention, what_does_not_fit_is_refused_with_a_hint) {
  const auto message = [](const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& options = {}) -> std::string {
    try {
      attention(q, k, v, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using ::testing::HasSubstr;
  const Tensor x = zeros({2, 5, 8, 4});
  EXPECT_EQ(message(x, zeros({2, 5, 6, 4}), zeros({2, 5, 6, 4})).substr(0, 64),
            "attention: key has 6 heads, query has 8; want equal or a divisor");
  EXPECT_THAT(message(x, zeros({2, 5, 8, 3}), x),
              HasSubstr("query heads have dimension 4, key heads 3; want equal"));
  EXPECT_THAT(message(x, x, zeros({2, 6, 8, 4})), HasSubstr("key has 5 positions, value has 6"));
  EXPECT_THAT(message(zeros({2, 8, 5, 4}), zeros({2, 8, 7, 4}), zeros({2, 8, 7, 4})),
              HasSubstr("is the input [B, H, T, D]?"));
  EXPECT_THAT(message(zeros({5, 2, 8, 4}), zeros({7, 2, 8, 4}), zeros({7, 2, 8, 4})),
              HasSubstr("is the input [T, B, H, D]?"));
  EXPECT_THAT(message(zeros({2, 5, 8, 4}), zeros({2, 7, 8, 4}), zeros({2, 7, 8, 4}),
                      {.mask = Mask::allow(full({7, 5}, 1, DType::boolean))}),
              HasSubstr("[S, T]: transpose"));
  EXPECT_THAT(message(x, x, x, {.bias = full({5, 5}, 1, DType::boolean)}),
              HasSubstr("a boolean mask goes in as Mask::allow"));
  EXPECT_THAT(message(x, x, x, {.dropout = 0.1}), HasSubstr("dropout needs a generator"));
  EXPECT_THAT(message(x, x, x, {.dropout = 1}), HasSubstr("dropout is 1; want 0 <= p < 1"));
  EXPECT_THAT(message(zeros({5, 8, 4}), zeros({5, 8, 4}), zeros({5, 8, 4})), HasSubstr("query_offsets"));
  EXPECT_THROW(Mask::allow(zeros({5, 5})), Error);
  EXPECT_THROW(Mask::window(-1, 0), Error);
}

}  // namespace
}  // namespace headway
