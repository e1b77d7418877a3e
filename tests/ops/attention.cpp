#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include <headway/core/allocator.h>
#include <headway/ops/composed.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

struct Sizes {
  std::int64_t batch, queries, keys, heads, kv_heads, dim, value_dim;
};

// What a variant adds to plain attention. `bias` is the shape of an additive bias, an input with a gradient.
struct Variant {
  std::string name = "plain";
  Mask mask = {};
  double dropout = 0;
  Shape bias = {};
  bool packed = false;
};

Tensor checkerboard(const Shape& shape) {
  const Tensor out = Tensor::empty(shape, DType::boolean);
  // Every fifth pair and the whole of query 1 are hidden.
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    out.data<bool>()[i] = i % 5 != 0 && !(shape.rank() >= 2 && i / shape[-1] % shape[-2] == 1);
  }
  return out;
}

AttentionOptions options_of(const Sizes& s, const Variant& variant, Generator& generator) {
  AttentionOptions options;
  options.mask = variant.mask;
  options.dropout = variant.dropout;
  options.generator = &generator;
  if (variant.packed) {  // unequal sequences, one of them empty
    const std::int64_t n = s.batch * s.queries, m = s.batch * s.keys;
    options.query_offsets = {0, n / 3, n / 3, n};
    options.key_offsets = {0, m / 4, m / 2, m};
  }
  return options;
}

using Attend = std::function<Tensor(const Tensors&, const AttentionOptions&)>;

testing::Function runs(const Sizes& s, const Variant& variant, const Attend& attend) {
  return [=](const Tensors& in) {
    Generator generator(11);
    AttentionOptions options = options_of(s, variant, generator);
    if (variant.bias.rank() > 0) options.bias = in[3];
    return Tensors{attend(in, options)};
  };
}

Tensor fused(const Tensors& in, const AttentionOptions& options) { return attention(in[0], in[1], in[2], options).output; }
Tensor composed_attention(const Tensors& in, const AttentionOptions& options) {
  return composed::attention(in[0], in[1], in[2], options);
}

// Sums over D and over the keys are float32 either way; their terms are of the size of the largest result times the
// number of keys that share it. dS is a difference of dP and its mean, each of about |dO|·|V|. In bfloat16 the output is stored rounded and enters delta, dO arrives rounded.
OpCase one(const Sizes& s, const Variant& variant) {
  const auto shape = [&](std::int64_t length, std::int64_t heads, std::int64_t dim) {
    return variant.packed ? Shape{s.batch * length, heads, dim} : Shape{s.batch, length, heads, dim};
  };
  Tensors inputs = {random(shape(s.queries, s.heads, s.dim), 1), random(shape(s.keys, s.kv_heads, s.dim), 2),
                    random(shape(s.keys, s.kv_heads, s.value_dim), 3)};
  std::vector<bool> parameter = {false, false, false};
  if (variant.bias.rank() > 0) {
    inputs.push_back(random(variant.bias, 4));
    parameter.push_back(true);
  }
  return {variant.name + " B" + std::to_string(s.batch) + " T" + std::to_string(s.queries) + " S" + std::to_string(s.keys) +
              " D" + std::to_string(s.dim),
          runs(s, variant, fused), inputs, {6, 64.0 + 2 * static_cast<double>(s.dim), 2 * std::sqrt(static_cast<double>(s.value_dim))}, parameter};
}

std::vector<Variant> variants(const Sizes& s) {
  const std::int64_t t = s.queries, k = s.keys, h = s.heads, b = s.batch;
  std::vector<Variant> all(1);
  all.push_back({.name = "causal", .mask = Mask::causal()});
  all.push_back({.name = "top left", .mask = Mask::causal(Align::top_left)});
  all.push_back({.name = "window", .mask = Mask::window(3, 1)});
  all.push_back({.name = "causal window", .mask = Mask::causal() & Mask::window(2, 0)});
  all.push_back({.name = "allow", .mask = Mask::allow(checkerboard({t, k}))});
  all.push_back({.name = "deny per head", .mask = Mask::deny(checkerboard({h, t, k}))});
  all.push_back({.name = "dropout", .dropout = 0.3});
  all.push_back({.name = "bias of all", .bias = {b, h, t, k}});
  all.push_back({.name = "bias shared by the batch", .bias = {h, t, k}});
  all.push_back({.name = "bias of keys", .mask = Mask::causal(), .bias = {b, 1, 1, k}});
  all.push_back({.name = "bias of one head and row", .dropout = 0.2, .bias = {1, h, 1, k}});
  all.push_back({.name = "packed causal dropout", .mask = Mask::causal(), .dropout = 0.2, .packed = true});
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < b; ++i) lengths.push_back(i == 0 ? k : std::max<std::int64_t>(k - 2 * i, 0));
  all.push_back({.name = "padding", .mask = Mask::padding(lengths)});
  return all;
}

std::vector<OpCase> small() {
  std::vector<OpCase> all;
  for (const Sizes& s : {Sizes{2, 5, 5, 2, 2, 4, 4}, Sizes{2, 3, 7, 4, 2, 5, 3}, Sizes{2, 6, 4, 2, 1, 3, 6}}) {
    for (const Variant& variant : variants(s)) all.push_back(one(s, variant));
  }
  return all;
}

OpCase large() {
  return one({3, 130, 200, 4, 2, 24, 20}, {.name = "large", .mask = Mask::causal(), .dropout = 0.1, .bias = {4, 130, 200}});
}

HEADWAY_OP_CHECK(attention, reference) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const OpCase& test : small()) testing::check_reference(test, dtype);
    // Every length around the tiles' edges: blocks of 16 to 64 queries, tiles of 96 keys.
    for (const std::int64_t n : {1, 15, 16, 17, 31, 33, 48, 63, 64, 65, 95, 96, 97, 130, 193}) {
      testing::check_reference(one({2, n, n, 2, 2, 8, 8}, {.name = "causal", .mask = Mask::causal()}), dtype);
      testing::check_reference(one({1, 20, n, 4, 2, 16, 16}, {.name = "dropout", .dropout = 0.2}), dtype);
      testing::check_reference(one({1, n, 40, 2, 1, n % 70 + 1, 7}, {.name = "dims"}), dtype);
    }
  }
}
HEADWAY_OP_CHECK(attention, gradcheck) {
  for (const OpCase& test : small()) testing::gradcheck(test);
}
HEADWAY_OP_CHECK(attention, composed) {
  for (const Sizes& s : {Sizes{2, 5, 5, 2, 2, 4, 4}, Sizes{2, 40, 100, 4, 2, 20, 12}}) {
    for (const Variant& variant : variants(s)) {
      if (!variant.mask.lengths().empty()) continue;  // the composition takes keys by their lengths
      for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16}) {
        testing::check_composed(one(s, variant), runs(s, variant, composed_attention), dtype);
      }
    }
  }
}
HEADWAY_OP_CHECK(attention, meta) {
  for (const OpCase& test : small()) {
    if (test.name.starts_with("allow") || test.name.starts_with("deny")) continue;  // their masks have elements
    testing::check_meta(test, DType::float32);
    testing::check_meta(test, DType::bfloat16);
  }
}
HEADWAY_OP_CHECK(attention, threads) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    testing::check_threads(large(), dtype);
    testing::check_threads(one({1, 70, 1100, 2, 1, 16, 16}, {.name = "cut in ranges of keys", .dropout = 0.1}), dtype);
    testing::check_threads(one({9, 30, 30, 4, 4, 16, 16}, {.name = "packed", .mask = Mask::causal(), .packed = true}), dtype);
  }
}
HEADWAY_OP_CHECK(attention, non_contiguous) {
  for (const OpCase& test : small()) testing::check_non_contiguous(test, DType::float32, false);
}

// --- Straight from projections -----------------------------------------------------------------------------------

// qkv columns: queries of H heads, keys of G, values of G.
OpCase combined_case(std::int64_t heads, std::int64_t kv_heads, std::int64_t dim, std::int64_t value_dim, bool cross) {
  const HeadsLayout layout{heads, kv_heads, dim, value_dim};
  const std::int64_t q = heads * dim, kv = kv_heads * (dim + value_dim);
  OpCase out;
  out.name = "H" + std::to_string(heads) + " G" + std::to_string(kv_heads) + (cross ? " cross" : " self");
  out.tolerance = {6, 64.0 + 2 * static_cast<double>(dim)};
  if (cross) {
    out.inputs = {random({2, 5, q}, 1), random({2, 7, kv}, 2)};
    out.run = [layout](const Tensors& in) { return Tensors{attention_combined(contiguous(in[0]), contiguous(in[1]), layout).output}; };
  } else {
    out.inputs = {random({2, 6, q + kv}, 1)};
    out.run = [layout](const Tensors& in) {
      return Tensors{attention_combined(contiguous(in[0]), layout, {.mask = Mask::causal()}).output};
    };
  }
  return out;
}
std::vector<OpCase> combined_small() {
  return {combined_case(2, 2, 4, 4, false), combined_case(4, 2, 3, 5, false), combined_case(4, 1, 4, 2, true), combined_case(2, 2, 4, 4, true)};
}
OpCase combined_large() {
  const HeadsLayout layout{4, 2, 16, 16};
  return {"combined", [layout](const Tensors& in) { return Tensors{attention_combined(in[0], layout).output}; }, {random({3, 150, 128}, 1)}, {6, 128}};
}
HEADWAY_OP_SUITE(attention_combined, combined_small, combined_large)

TEST(AttentionCombined, equals_attention_on_the_columns_to_the_bit) {
  const Tensor qkv = random({2, 70, 3 * 32}, 5, DType::float32);
  const Tensor whole = attention_combined(qkv, {4, 4, 8, 8}, {.mask = Mask::causal()}).output;
  const auto part = [&](int i) { return reshape(slice(qkv, 2, 32 * i, 32 * (i + 1)), {2, 70, 4, 8}); };
  testing::expect_bitwise_equal(whole, attention(part(0), part(1), part(2), {.mask = Mask::causal()}).output, "output");
}

// --- What stands in the contract ----------------------------------------------------------------------------------

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
    const Tensor q = random({1, 3, 2, 8}, 1, dtype), k = random({1, 4, 2, 8}, 2, dtype), v = random({1, 4, 2, 8}, 3, dtype);
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
  const Tensor q = random({2, 5, 2, 8}, 1, DType::float32), k = random({2, 5, 2, 8}, 2, DType::float32), v = random({2, 5, 2, 8}, 3, DType::float32);
  const Tensor visible = checkerboard({5, 5});
  const Tensor bias = zeros({5, 5});
  for (int i = 0; i < 25; ++i) {
    if (!visible.data<bool>()[i]) bias.data<float>()[i] = -std::numeric_limits<float>::infinity();
  }
  const Grads masked = run_all(q, k, v, {.mask = Mask::allow(visible)}), biased = run_all(q, k, v, {.bias = bias});
  testing::expect_bitwise_equal(biased.output, masked.output, "output");
  testing::expect_bitwise_equal(biased.q, masked.q, "dq");
  testing::expect_bitwise_equal(biased.k, masked.k, "dk");
  testing::expect_bitwise_equal(biased.v, masked.v, "dv");
}

TEST(Attention, nan_and_infinity_in_hidden_keys_and_values_reach_nothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const Tensor q = random({1, 70, 2, 8}, 1, DType::float32), k = random({1, 100, 2, 8}, 2, DType::float32), v = random({1, 100, 2, 8}, 3, DType::float32);
  const Tensor hidden = full({100}, 0, DType::boolean);
  for (const int j : {0, 17, 50, 99}) hidden.data<bool>()[j] = true;
  const Grads clean = run_all(q, k, v, {.mask = Mask::deny(hidden)});
  Tensor bad_k = from(k.to_vector<float>(), k.shape()), bad_v = from(v.to_vector<float>(), v.shape());
  for (const int j : {0, 17, 50, 99}) {
    for (int d = 0; d < 16; ++d) {
      bad_k.data<float>()[j * 16 + d] = d % 3 == 0 ? nan : infinity;
      bad_v.data<float>()[j * 16 + d] = d % 2 == 0 ? nan : -infinity;
    }
  }
  const Grads got = run_all(q, bad_k, bad_v, {.mask = Mask::deny(hidden)});
  testing::expect_bitwise_equal(got.output, clean.output, "output");
  testing::expect_bitwise_equal(got.q, clean.q, "dq");
  testing::expect_bitwise_equal(got.k, clean.k, "dk");
  testing::expect_bitwise_equal(got.v, clean.v, "dv");
}

TEST(Attention, a_nan_in_a_query_stays_in_the_keys_it_sees) {
  const Tensor q = random({1, 6, 1, 4}, 1, DType::float32), k = random({1, 6, 1, 4}, 2, DType::float32), v = random({1, 6, 1, 4}, 3, DType::float32);
  q.data<float>()[2 * 4] = std::numeric_limits<float>::quiet_NaN();
  const Grads got = run_all(q, k, v, {.mask = Mask::causal()});
  for (const Tensor& x : {got.k, got.v}) EXPECT_TRUE(finite(slice(x, 1, 3, 6)));
  EXPECT_TRUE(finite(slice(got.output, 1, 0, 2)) && finite(slice(got.output, 1, 3, 6)));
  EXPECT_FALSE(finite(slice(got.output, 1, 2, 3)));
}

TEST(Attention, enormous_logits_stay_finite) {
  for (const double size : {1e4, -1e4}) {
    const Tensor q = full({1, 9, 1, 4}, size, DType::float32), k = random({1, 9, 1, 4}, 2, DType::float32), v = random({1, 9, 1, 4}, 3, DType::float32);
    const Grads got = run_all(q, k, v, {.scale = 1.0});
    EXPECT_TRUE(finite(got.output) && finite(got.q) && finite(got.k) && finite(got.v));
  }
}

TEST(Attention, no_queries_no_keys_and_no_sequences_are_fine) {
  for (const auto& [t, s] : {std::pair{0, 4}, {4, 0}, {0, 0}}) {
    const Grads got = run_all(random({2, t, 2, 4}, 1, DType::float32), random({2, s, 2, 4}, 2, DType::float32), random({2, s, 2, 4}, 3, DType::float32), {});
    for (const double value : testing::values_of(got.output)) EXPECT_EQ(value, 0);
    for (const double value : testing::values_of(got.k)) EXPECT_EQ(value, 0);
  }
  EXPECT_EQ(attention(zeros({0, 2, 4}), zeros({0, 2, 4}), zeros({0, 2, 4}), {.query_offsets = {0}, .key_offsets = {0}}).output.numel(), 0);
}

TEST(Attention, packed_equals_padded_to_the_bit_with_dropout_and_causal_mask) {
  const std::vector<std::int64_t> lengths = {5, 70, 1};
  const Tensor q = random({3, 70, 2, 8}, 1, DType::float32), k = random({3, 70, 2, 8}, 2, DType::float32), v = random({3, 70, 2, 8}, 3, DType::float32);
  std::vector<Tensor> qs, ks, vs;
  std::vector<std::int64_t> offsets{0};
  for (std::size_t b = 0; b < 3; ++b) {
    const auto rows = [&](const Tensor& x) { return reshape(slice(slice(x, 0, static_cast<std::int64_t>(b), static_cast<std::int64_t>(b) + 1), 1, 0, lengths[b]), {lengths[b], 2, 8}); };
    qs.push_back(rows(q));
    ks.push_back(rows(k));
    vs.push_back(rows(v));
    offsets.push_back(offsets.back() + lengths[b]);
  }
  Generator one(3), other(3);
  const Tensor packed = attention(concat(qs, 0), concat(ks, 0), concat(vs, 0),
                                  {.mask = Mask::causal(), .dropout = 0.3, .generator = &one, .query_offsets = offsets, .key_offsets = offsets}).output;
  const Tensor padded = attention(q, k, v, {.mask = Mask::causal() & Mask::padding(lengths), .dropout = 0.3, .generator = &other}).output;
  for (std::size_t b = 0; b < 3; ++b) {
    const auto i = static_cast<std::int64_t>(b);
    testing::expect_bitwise_equal(slice(packed, 0, offsets[b], offsets[b + 1]), reshape(slice(slice(padded, 0, i, i + 1), 1, 0, lengths[b]), {lengths[b], 2, 8}), "sequence");
  }
}

TEST(Attention, causal_aligns_the_last_query_with_the_last_key_unless_told) {
  const Tensor q = random({1, 2, 1, 4}, 1, DType::float32), k = random({1, 5, 1, 4}, 2, DType::float32), v = random({1, 5, 1, 4}, 3, DType::float32);
  const auto seen = [&](Align align) { return attention(q, k, v, {.mask = Mask::causal(align), .weights = Weights::per_head}).weights.to_vector<float>(); };
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
  const Tensor q = random({2, 40, 4, 8}, 1, DType::float32), k = random({2, 110, 2, 8}, 2, DType::float32), v = random({2, 110, 2, 8}, 3, DType::float32);
  AttentionOptions options{.mask = Mask::causal(), .dropout = 0.5, .generator = &generator, .weights = Weights::per_head};
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
  const Tensor a = attention(q, k, v, {.dropout = 0.25, .generator = &one}).output, b = attention(q, k, v, {.dropout = 0.25, .generator = &same}).output;
  testing::expect_bitwise_equal(a, b, "same seed");
  // 4000 weights, each kept with 3/4: the mean's deviation is sqrt(1/3/4000) = 0.009.
  EXPECT_NEAR(a.to_vector<float>()[0], 1, 5 * 0.0092);
  EXPECT_NE(attention(q, k, v, {.dropout = 0.25, .generator = &one}).output.to_vector<float>()[0], a.to_vector<float>()[0]);
}

// Peak bytes of forward and backward.
std::int64_t training_peak(std::int64_t length, const AttentionOptions& options) {
  const Tensor q = require_grad(zeros({1, length, 2, 8})), k = require_grad(zeros({1, length, 2, 8})), v = require_grad(zeros({1, length, 2, 8}));
  reset_peak();
  const std::int64_t before = memory_stats().current;
  sum(attention(q, k, v, options).output).backward();
  return memory_stats().peak - before;
}

TEST(Attention, training_memory_at_most_doubles_with_the_length) {
  Generator generator(1);
  const auto padding = [](std::int64_t n) { return Mask::padding({n - 100}); };
  for (int option = 0; option < 6; ++option) {
    const auto peak = [&](std::int64_t n) {
      AttentionOptions options;
      if (option == 1) options.mask = Mask::causal();
      if (option == 2) options.mask = Mask::window(100, 0);
      if (option == 3) options.mask = padding(n);
      if (option == 4) options = {.dropout = 0.1, .generator = &generator};
      if (option == 5) options = {.query_offsets = {}, .key_offsets = {}, .log_sum_exp = true};
      return training_peak(n, options);
    };
    EXPECT_LE(peak(8192), 2 * peak(4096) + 4096) << "option " << option;
  }
}

TEST(Attention, what_does_not_fit_is_refused_with_a_hint) {
  const auto message = [](const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {}) -> std::string {
    try {
      attention(q, k, v, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using ::testing::HasSubstr;
  const Tensor x = zeros({2, 5, 8, 4});
  EXPECT_EQ(message(x, zeros({2, 5, 6, 4}), zeros({2, 5, 6, 4})).substr(0, 64), "attention: key has 6 heads, query has 8; want equal or a divisor");
  EXPECT_THAT(message(x, zeros({2, 5, 8, 3}), x), HasSubstr("query heads have dimension 4, key heads 3; want equal"));
  EXPECT_THAT(message(x, x, zeros({2, 6, 8, 4})), HasSubstr("key has 5 positions, value has 6"));
  EXPECT_THAT(message(zeros({2, 8, 5, 4}), zeros({2, 8, 7, 4}), zeros({2, 8, 7, 4})), HasSubstr("is the input [B, H, T, D]?"));
  EXPECT_THAT(message(zeros({5, 2, 8, 4}), zeros({7, 2, 8, 4}), zeros({7, 2, 8, 4})), HasSubstr("is the input [T, B, H, D]?"));
  EXPECT_THAT(message(zeros({2, 5, 8, 4}), zeros({2, 7, 8, 4}), zeros({2, 7, 8, 4}), {.mask = Mask::allow(full({7, 5}, 1, DType::boolean))}), HasSubstr("[S, T]: transpose"));
  EXPECT_THAT(message(x, x, x, {.bias = full({5, 5}, 1, DType::boolean)}), HasSubstr("a boolean mask goes in as Mask::allow"));
  EXPECT_THAT(message(x, x, x, {.dropout = 0.1}), HasSubstr("dropout needs a generator"));
  EXPECT_THAT(message(x, x, x, {.dropout = 1}), HasSubstr("dropout is 1; want 0 <= p < 1"));
  EXPECT_THAT(message(zeros({5, 8, 4}), zeros({5, 8, 4}), zeros({5, 8, 4})), HasSubstr("query_offsets"));
  EXPECT_THROW(Mask::allow(zeros({5, 5})), Error);
  EXPECT_THROW(Mask::window(-1, 0), Error);
}

}  // namespace
}  // namespace headway
