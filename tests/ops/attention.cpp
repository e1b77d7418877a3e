#include <headway/ops/attention.h>

#include <cmath>

#include <fmt/format.h>

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
  double softcap = 0;
  bool alibi = false;
  std::int64_t buckets = 0;  // of a T5 table, an input with a gradient
  bool bidirectional = true;
  std::int64_t reach = -1;   // of Shaw's vectors, for keys and values: inputs with gradients
  bool own_vectors = false;  // for each head
  bool transformer_xl = false;
  std::int64_t rope = 0;  // how many columns of each head turn
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
    std::size_t next = 3;
    if (variant.bias.rank() > 0) options.bias = in[next++];
    options.softcap = variant.softcap;
    if (variant.alibi) options.position = Position::alibi();
    if (variant.rope > 0) options.position = Position::rope({.base = 100, .dims = variant.rope});
    if (variant.buckets > 0)
      options.position = Position::t5(in[next], {.bidirectional = variant.bidirectional, .max_distance = 20});
    if (variant.reach >= 0) options.position = Position::shaw(contiguous(in[next]), contiguous(in[next + 1]));
    if (variant.transformer_xl)
      options.position =
          Position::transformer_xl(contiguous(in[next]), contiguous(in[next + 1]), contiguous(in[next + 2]),
                                   1 - std::max(s.queries, s.keys) * s.batch);
    return Tensors{attend(in, options)};
  };
}

Tensor fused(const Tensors& in, const AttentionOptions& options) {
  return attention(in[0], in[1], in[2], options).output;
}
Tensor composed_attention(const Tensors& in, const AttentionOptions& options) {
  return composed::attention(in[0], in[1], in[2], options);
}

// Sums over D and over the keys are float32 either way; their terms are of the size of the largest result
// times the number of keys that share it. dS is a difference of dP and its mean, each of about |dO|·|V|. In
// bfloat16 the output is stored rounded and enters delta, dO arrives rounded.
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
  if (variant.buckets > 0) {
    inputs.push_back(random({variant.buckets, s.heads}, 5));
    parameter.push_back(true);
  }
  const auto learned = [&](const Shape& sizes, unsigned seed) {
    inputs.push_back(random(sizes, seed));
    parameter.push_back(true);
  };
  if (variant.reach >= 0) {
    for (const std::int64_t width : {s.dim, s.value_dim}) {
      const std::int64_t count = 2 * variant.reach + 1;
      learned(variant.own_vectors ? Shape{s.heads, count, width} : Shape{count, width}, 6);
    }
  }
  if (variant.transformer_xl) {
    learned({2 * std::max(s.queries, s.keys) * s.batch, s.heads, s.dim}, 7);
    learned({s.heads, s.dim}, 8);
    learned({s.heads, s.dim}, 9);
  }
  return {fmt::format("{} B{} T{} S{} D{}", variant.name, s.batch, s.queries, s.keys, s.dim),
          runs(s, variant, fused),
          inputs,
          {6, 64.0 + 2 * static_cast<double>(s.dim), 2 * std::sqrt(static_cast<double>(s.value_dim))},
          parameter};
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
  all.push_back({.name = "softcap", .mask = Mask::causal(), .softcap = 1.5});
  all.push_back({.name = "alibi", .alibi = true});
  all.push_back(
      {.name = "packed alibi softcap", .mask = Mask::causal(), .packed = true, .softcap = 2, .alibi = true});
  all.push_back({.name = "t5", .buckets = 8});
  all.push_back(
      {.name = "causal t5", .mask = Mask::causal(), .dropout = 0.2, .buckets = 6, .bidirectional = false});
  all.push_back({.name = "packed t5 bias", .bias = {h, 1, 1}, .packed = true, .softcap = 3, .buckets = 8});
  all.push_back({.name = "sparse t5", .mask = Mask::strided(3), .softcap = 1, .buckets = 8});
  all.push_back({.name = "shaw", .reach = 2});
  all.push_back({.name = "causal shaw of each head",
                 .mask = Mask::causal(),
                 .dropout = 0.2,
                 .reach = 9,
                 .own_vectors = true});
  all.push_back({.name = "packed shaw softcap", .packed = true, .softcap = 2, .reach = 0});
  all.push_back({.name = "transformer_xl", .transformer_xl = true});
  all.push_back({.name = "packed causal transformer_xl",
                 .mask = Mask::causal(),
                 .packed = true,
                 .softcap = 2,
                 .transformer_xl = true});
  all.push_back({.name = "sparse transformer_xl", .mask = Mask::strided(3), .transformer_xl = true});
  all.push_back({.name = "rope", .rope = s.dim / 2 * 2});
  all.push_back({.name = "packed rope",
                 .mask = Mask::causal(),
                 .dropout = 0.2,
                 .bias = {h, 1, 1},
                 .packed = true,
                 .softcap = 2,
                 .rope = 2});
  all.push_back({.name = "packed causal dropout", .mask = Mask::causal(), .dropout = 0.2, .packed = true});
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < b; ++i) lengths.push_back(i == 0 ? k : std::max<std::int64_t>(k - 2 * i, 0));
  all.push_back({.name = "padding", .mask = Mask::padding(lengths)});
  return all;
}

std::vector<OpCase> small() {
  std::vector<OpCase> all;
  for (const Sizes& s : {Sizes{2, 5, 5, 2, 2, 4, 4}, Sizes{2, 3, 7, 4, 2, 5, 3}, Sizes{2, 6, 4, 2, 1, 3, 6},
                         Sizes{2, 1, 7, 4, 2, 5, 3}}) {
    for (const Variant& variant : variants(s)) all.push_back(one(s, variant));
  }
  return all;
}

OpCase large() {
  return one({3, 130, 200, 4, 2, 24, 20},
             {.name = "large", .mask = Mask::causal(), .dropout = 0.1, .bias = {4, 130, 200}});
}

HEADWAY_OP_CHECK(attention, reference) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const OpCase& test : small()) testing::check_reference(test, dtype);
    // Blocks of queries that share their tiles of keys.
    testing::check_reference(
        one({4, 300, 310, 8, 4, 16, 16}, {.name = "blocks", .mask = Mask::causal(), .dropout = 0.2}), dtype);
    testing::check_reference(
        one({4, 300, 310, 8, 8, 16, 16}, {.name = "blocks", .mask = Mask::window(60, 20), .reach = 5}),
        dtype);
    // Single queries over ranges of keys, for groups of heads larger and smaller than go at a time.
    for (const std::int64_t heads : {1, 3, 8, 9}) {
      testing::check_reference(one({2, 1, 4500, heads, 1, 20, 12}, {.name = "ranges"}), dtype);
      testing::check_reference(
          one({1, 1, 4200, 2 * heads, 2, 16, 16},
              {.name = "window of ranges", .mask = Mask::window(2500, 0), .bias = {4200}}),
          dtype);
    }
    // Every length around the tiles' edges: blocks of 16 to 64 queries, tiles of 96 keys.
    for (const std::int64_t n : {1, 15, 16, 17, 31, 33, 48, 63, 64, 65, 95, 96, 97, 130, 193}) {
      testing::check_reference(one({2, n, n, 2, 2, 8, 8}, {.name = "causal", .mask = Mask::causal()}), dtype);
      // A tile's first key is the last that a group of queries sees.
      testing::check_reference(one({1, n, n + 1, 2, 2, 8, 8}, {.name = "causal", .mask = Mask::causal()}),
                               dtype);
      testing::check_reference(one({1, 20, n, 4, 2, 16, 16}, {.name = "dropout", .dropout = 0.2}), dtype);
      testing::check_reference(one({1, n, 40, 2, 1, n % 70 + 1, 7}, {.name = "dims"}), dtype);
      testing::check_reference(
          one({1, n, n + 5, 2, 2, 8, 8}, {.name = "window", .mask = Mask::window(20, 9)}), dtype);
      testing::check_reference(one({2, 1, n, 4, 2, n % 70 + 1, 36}, {.name = "single query"}), dtype);
      testing::check_reference(one({2, n, n + 3, 4, 2, 8, 8},
                                   {.name = "causal t5", .mask = Mask::causal(), .softcap = 2, .buckets = 8}),
                               dtype);
      testing::check_reference(
          one({2, n, n + 3, 4, 2, 8, 20}, {.name = "shaw", .mask = Mask::causal(), .reach = n % 40}), dtype);
      testing::check_reference(one({1, n, n + 3, 2, 2, 20, 8}, {.name = "xl", .transformer_xl = true}),
                               dtype);
    }
  }
}
HEADWAY_OP_CHECK(attention, gradcheck) {
  for (const OpCase& test : small()) testing::gradcheck(test);
}
HEADWAY_OP_CHECK(attention, composed) {
  for (const Sizes& s :
       {Sizes{2, 5, 5, 2, 2, 4, 4}, Sizes{2, 40, 100, 4, 2, 20, 12}, Sizes{2, 1, 100, 4, 2, 20, 12}}) {
    for (const Variant& variant : variants(s)) {
      if (variant.name == "padding") continue;  // the composition takes keys by their lengths
      for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16}) {
        testing::check_composed(one(s, variant), runs(s, variant, composed_attention), dtype);
      }
    }
  }
}
HEADWAY_OP_CHECK(attention, meta) {
  for (const OpCase& test : small()) {
    if (test.name.starts_with("allow") || test.name.starts_with("deny"))
      continue;  // their masks have elements
    testing::check_meta(test, DType::float32);
    testing::check_meta(test, DType::bfloat16);
  }
}
HEADWAY_OP_CHECK(attention, threads) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    testing::check_threads(large(), dtype);
    testing::check_threads(
        one({1, 70, 1100, 2, 1, 16, 16}, {.name = "cut in ranges of keys", .dropout = 0.1}), dtype);
    testing::check_threads(
        one({2, 70, 1100, 4, 2, 16, 16}, {.name = "by distance", .softcap = 2, .buckets = 8}), dtype);
    testing::check_threads(
        one({2, 300, 400, 8, 8, 16, 16}, {.name = "blocks", .mask = Mask::causal(), .dropout = 0.1}), dtype);
    testing::check_threads(one({2, 1, 9000, 6, 2, 16, 16}, {.name = "ranges of one query"}), dtype);
    testing::check_threads(one({2, 70, 1100, 4, 2, 16, 16}, {.name = "shaw", .reach = 20}), dtype);
    testing::check_threads(one({2, 140, 1100, 2, 2, 16, 16},
                               {.name = "gathered xl", .mask = Mask::strided(4), .transformer_xl = true}),
                           dtype);
    testing::check_threads(
        one({9, 30, 30, 4, 4, 16, 16}, {.name = "packed", .mask = Mask::causal(), .packed = true}), dtype);
  }
}
HEADWAY_OP_CHECK(attention, non_contiguous) {
  for (const OpCase& test : small()) testing::check_non_contiguous(test, DType::float32, false);
}

// --- Straight from projections
// -----------------------------------------------------------------------------------

// qkv columns: queries of H heads, keys of G, values of G.
OpCase combined_case(std::int64_t heads, std::int64_t kv_heads, std::int64_t dim, std::int64_t value_dim,
                     bool cross) {
  const HeadsLayout layout{heads, kv_heads, dim, value_dim};
  const std::int64_t q = heads * dim, kv = kv_heads * (dim + value_dim);
  OpCase out;
  out.name = fmt::format("H{} G{} {}", heads, kv_heads, cross ? "cross" : "self");
  out.tolerance = {6, 64.0 + 2 * static_cast<double>(dim)};
  if (cross) {
    out.inputs = {random({2, 5, q}, 1), random({2, 7, kv}, 2)};
    out.run = [layout](const Tensors& in) {
      return Tensors{attention_combined(contiguous(in[0]), contiguous(in[1]), layout).output};
    };
  } else {
    out.inputs = {random({2, 6, q + kv}, 1)};
    out.run = [layout](const Tensors& in) {
      return Tensors{attention_combined(contiguous(in[0]), layout, {.mask = Mask::causal()}).output};
    };
  }
  return out;
}
std::vector<OpCase> combined_small() {
  return {combined_case(2, 2, 4, 4, false), combined_case(4, 2, 3, 5, false), combined_case(4, 1, 4, 2, true),
          combined_case(2, 2, 4, 4, true)};
}
OpCase combined_large() {
  const HeadsLayout layout{4, 2, 16, 16};
  return {"combined",
          [layout](const Tensors& in) { return Tensors{attention_combined(in[0], layout).output}; },
          {random({3, 150, 128}, 1)},
          {6, 128}};
}
HEADWAY_OP_SUITE(attention_combined, combined_small, combined_large)

TEST(AttentionCombined, equals_attention_on_the_columns_to_the_bit) {
  const Tensor qkv = random({2, 70, 3 * 32}, 5, DType::float32);
  const Tensor whole = attention_combined(qkv, {4, 4, 8, 8}, {.mask = Mask::causal()}).output;
  const auto part = [&](int i) { return reshape(slice(qkv, 2, 32 * i, 32 * (i + 1)), {2, 70, 4, 8}); };
  testing::expect_bitwise_equal(whole, attention(part(0), part(1), part(2), {.mask = Mask::causal()}).output,
                                "output");
}

}  // namespace
}  // namespace headway
