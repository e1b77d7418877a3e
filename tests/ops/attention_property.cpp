// Attention on random shapes, groups, strides and masks against the oracle. HEADWAY_TEST_ROUNDS sets how
// many: a few hundred unless told, millions overnight.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include <headway/ops/explain.h>
#include <support/gradcheck.h>
#include <support/random_mask.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

int rounds(int usual) {
  const char* wanted = std::getenv("HEADWAY_TEST_ROUNDS");
  return wanted ? std::atoi(wanted) : usual;
}

struct Draw {
  std::mt19937 engine;
  explicit Draw(unsigned seed) : engine(seed) {}
  std::int64_t operator()(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(engine);
  }
};

// A penalty that rises with the logarithm of the distance, and a slope: both learned.
struct LogPenalty {
  template <typename T>
  void apply(const ScoreTile<T>& s, const T* w) const {
    for (std::int64_t j = 0; j < s.keys; ++j) {
      for (std::int64_t i = 0; i < s.queries; ++i)
        s.at(i, j) = w[1] * s.at(i, j) - w[0] * log_distance<T>(s, i, j);
    }
  }
  template <typename T>
  void derive(const ScoreTile<T>& s, const ScoreTile<T>& gradient, const T* w, T* dw) const {
    for (std::int64_t j = 0; j < s.keys; ++j) {
      for (std::int64_t i = 0; i < s.queries; ++i) {
        dw[0] -= gradient.at(i, j) * log_distance<T>(s, i, j);
        dw[1] += gradient.at(i, j) * s.at(i, j);
        gradient.at(i, j) *= w[1];
      }
    }
  }
  template <typename T>
  static T log_distance(const ScoreTile<T>& s, std::int64_t i, std::int64_t j) {
    return static_cast<T>(std::log1p(std::abs(static_cast<double>(s.distance(i, j))))) +
           static_cast<T>(0.1) * static_cast<T>(s.head);
  }
};

// A modifier's parameter sums over all pairs what each row's rounded output leaves, which in bfloat16 is a
// random walk of every row: no tolerance by the size of the result holds.
OpCase random_case(unsigned seed, DType dtype) {
  Draw draw(seed);
  const std::int64_t batch = draw(1, 3), group = draw(1, 3), kv_heads = draw(1, 2), heads = group * kv_heads;
  const std::int64_t queries = draw(0, 4) ? draw(1, 90) : 1, keys = draw(1, 210);
  const std::int64_t dim = draw(0, 3) ? draw(1, 40) : 64, value_dim = draw(0, 1) ? dim : draw(1, 40);
  AttentionOptions options;
  PlanShape shape = PlanShape::padded(batch, heads, queries, keys);
  const bool packed = draw(0, 3) == 0;
  if (packed) {  // the padded lengths, cut elsewhere
    options.query_offsets = {0};
    options.key_offsets = {0};
    shape.sequences.clear();
    for (std::int64_t b = 1; b <= batch; ++b) {
      const auto cut = [&](std::int64_t length, std::int64_t before) {
        return b == batch ? batch * length : draw(before, batch * length);
      };
      options.query_offsets.push_back(cut(queries, options.query_offsets.back()));
      options.key_offsets.push_back(cut(keys, options.key_offsets.back()));
      shape.sequences.push_back({options.query_offsets[static_cast<std::size_t>(b)] -
                                     options.query_offsets[static_cast<std::size_t>(b - 1)],
                                 options.key_offsets[static_cast<std::size_t>(b)] -
                                     options.key_offsets[static_cast<std::size_t>(b - 1)]});
    }
  }
  options.mask = testing::random_mask(draw.engine, shape, 2);
  if (draw(0, 3) == 0) options.dropout = 0.25;
  const bool biased = draw(0, 3) == 0;
  if (draw(0, 4) == 0) options.softcap = 2;
  const std::int64_t position =
      draw(0, 9);  // 0: ALiBi, 1: T5, 2: Shaw, 3: Shaw with values, 4: Transformer-XL
  if (position == 0) options.position = Position::alibi();
  const bool modified = draw(0, 4) == 0 && dtype == DType::float32;
  const bool compiled = draw(0, 1);
  const auto sized = [&](std::int64_t length, std::int64_t count, std::int64_t width) {
    return packed ? Shape{batch * length, count, width} : Shape{batch, length, count, width};
  };
  OpCase test;
  test.name = fmt::format("seed {}: B{} T{} S{} H{} G{} D{} Dv{}{}{}{} {}", seed, batch, queries, keys, heads,
                          kv_heads, dim, value_dim, packed ? " packed" : "", biased ? " bias" : "",
                          options.dropout > 0 ? " dropout" : "", options.mask.str()) +
              (options.softcap > 0 ? " softcap" : "") +
              (position == 0   ? " alibi"
               : position == 1 ? " t5"
               : position == 2 ? " shaw keys"
               : position == 3 ? " shaw"
               : position == 4 ? " transformer_xl"
                               : "") +
              (modified ? " modifier" : "");
  test.inputs = {random(sized(queries, heads, dim), seed + 1), random(sized(keys, kv_heads, dim), seed + 2),
                 random(sized(keys, kv_heads, value_dim), seed + 3)};
  test.parameter = {false, false, false};
  if (biased) {
    const Shape pairs = shape.pairs();
    test.inputs.push_back(random({draw(0, 1) ? pairs[0] : 1, draw(0, 1) ? heads : 1,
                                  draw(0, 1) ? pairs[2] : 1, draw(0, 2) ? pairs[3] : 1},
                                 seed + 4));
    test.parameter.push_back(true);
  }
  if (position == 1) {
    test.inputs.push_back(random({8, heads}, seed + 5));
    test.parameter.push_back(true);
  }
  const auto learned = [&](const Shape& sizes) {
    test.inputs.push_back(random(sizes, seed + 6 + static_cast<unsigned>(test.inputs.size())));
    test.parameter.push_back(true);
  };
  const Shape pairs = shape.pairs();
  if (position == 2 || position == 3) {
    const std::int64_t reach = draw(0, 40);
    const auto vectors = [&](std::int64_t width) {
      learned(draw(0, 1) ? Shape{2 * reach + 1, width} : Shape{heads, 2 * reach + 1, width});
    };
    vectors(dim);
    if (position == 3) vectors(value_dim);
  }
  if (position == 4) {  // offsets from the first key's, seen by the last query, to the last key's
    learned({std::max(pairs[2], pairs[3]) * 2, heads, dim});
    learned({heads, dim});
    learned({heads, dim});
  }
  if (modified) learned({2});
  test.tolerance = {6, 64.0 + 2 * static_cast<double>(dim), 2 * std::sqrt(static_cast<double>(value_dim))};
  // A modifier's parameter is a running sum over all pairs, whose roundings walk at random.
  if (modified) test.tolerance.steps += 2 * std::sqrt(static_cast<double>(batch * heads * queries * keys));
  test.run = [=](const Tensors& in) {
    Generator generator(seed);
    AttentionOptions call = options;
    call.generator = &generator;
    if (biased) call.bias = in[3];
    std::size_t next = biased ? 4 : 3;
    if (position == 1) call.position = Position::t5(in[next++], {.max_distance = 60});
    if (position == 2) call.position = Position::shaw(in[next++]);
    if (position == 3) {
      call.position = Position::shaw(in[next], in[next + 1]);
      next += 2;
    }
    if (position == 4) {
      call.position =
          Position::transformer_xl(in[next], in[next + 1], in[next + 2], 1 - std::max(pairs[2], pairs[3]));
      next += 3;
    }
    if (modified) call.modifier = ScoreModifier(LogPenalty{}, in[next]);
    if (compiled) {
      call.plan = TilePlan(call.mask, shape);
      call.mask = {};
    }
    return Tensors{attention(in[0], in[1], in[2], call).output};
  };
  return test;
}

TEST(AttentionProperty, random_calls_agree_with_the_oracle_forward_and_backward) {
  for (int round = 0; round < rounds(600); ++round) {
    const DType dtype = round % 4 ? DType::float32 : DType::bfloat16;
    testing::check_reference(random_case(static_cast<unsigned>(round) * 10, dtype), dtype);
    if (::testing::Test::HasFailure()) FAIL() << "after " << round << " rounds";
  }
}

TEST(AttentionProperty, random_calls_give_the_same_bits_for_any_number_of_threads) {
  for (int round = 0; round < rounds(25); ++round)
    testing::check_threads(random_case(static_cast<unsigned>(round) * 10 + 5, DType::float32),
                           DType::float32);
}

TEST(AttentionProperty, a_plan_made_before_gives_the_same_bits_as_its_mask) {
  const Mask mask =
      Mask::big_bird({.block = 16, .window = 3, .global = 1, .random = 1, .seed = 2}) & Mask::causal();
  const Tensor q = random({2, 150, 4, 16}, 1, DType::float32), k = random({2, 150, 2, 16}, 2, DType::float32),
               v = random({2, 150, 2, 16}, 3, DType::float32);
  const TilePlan plan(mask, PlanShape::padded(2, 4, 150, 150));
  testing::expect_bitwise_equal(attention(q, k, v, {.plan = plan}).output,
                                attention(q, k, v, {.mask = mask}).output, "output");
  const auto refuses = [&](const AttentionOptions& options, const Tensor& query) {
    EXPECT_THROW(attention(query, k, v, options), Error);
  };
  refuses({.plan = plan}, slice(q, 1, 0, 149));
  refuses({.mask = Mask::causal(), .plan = plan}, q);
}

TEST(AttentionProperty, weights_of_a_sparse_mask_are_zero_where_nothing_is_seen) {
  const Mask mask = Mask::strided(7) & !Mask::window(2, 0);
  const Tensor q = random({1, 100, 2, 8}, 1, DType::float32), k = random({1, 100, 2, 8}, 2, DType::float32),
               v = random({1, 100, 2, 8}, 3, DType::float32);
  const auto weights =
      attention(q, k, v, {.mask = mask, .weights = Weights::per_head}).weights.to_vector<float>();
  for (std::int64_t i = 0; i < 100; ++i) {
    float total = 0;
    for (std::int64_t j = 0; j < 100; ++j) {
      const float weight = weights[static_cast<std::size_t>(i * 100 + j)];
      EXPECT_EQ(weight > 0, mask.visible({0, 0, i, j, 100, 100}));
      total += weight;
    }
    EXPECT_NEAR(total, i >= 7 ? 1 : total, 1e-5);
  }
}

TEST(AttentionProperty, what_is_hidden_by_a_plan_reaches_nothing) {
  const Tensor q = random({1, 80, 2, 8}, 1, DType::float32), k = random({1, 140, 2, 8}, 2, DType::float32),
               v = random({1, 140, 2, 8}, 3, DType::float32);
  const Tensor bad_k = from(k.to_vector<float>(), k.shape()), bad_v = from(v.to_vector<float>(), v.shape());
  const Mask mask = Mask::where([](const PairPosition& at) { return at.key % 40 != 3 && at.key < 130; });
  for (std::int64_t j = 0; j < 140; ++j) {
    if (mask.visible({0, 0, 0, j, 80, 140})) continue;
    for (int d = 0; d < 16; ++d) {
      bad_k.data<float>()[j * 16 + d] = std::numeric_limits<float>::quiet_NaN();
      bad_v.data<float>()[j * 16 + d] = std::numeric_limits<float>::infinity();
    }
  }
  const auto run = [&](const Tensor& keys, const Tensor& values) {
    const Tensor a = require_grad(q.detach()), b = require_grad(keys.detach()),
                 c = require_grad(values.detach());
    const Tensor out = attention(a, b, c, {.mask = mask}).output;
    sum(mul(out, random(out.shape(), 42, DType::float32))).backward();
    return Tensors{out, a.grad(), b.grad(), c.grad()};
  };
  const Tensors clean = run(k, v), got = run(bad_k, bad_v);
  for (std::size_t i = 0; i < clean.size(); ++i) testing::expect_bitwise_equal(got[i], clean[i], "result");
}

TEST(Explain, counts_what_is_computed_and_says_which_path_runs) {
  const auto explain = [](std::int64_t queries, std::int64_t keys, const AttentionOptions& options,
                          DType dtype = DType::float32) {
    const auto shaped = [&](std::int64_t n) { return Tensor::empty({2, n, 4, 16}, dtype, Device::meta); };
    return explain_attention(shaped(queries), shaped(keys), shaped(keys), options);
  };
  const auto full = explain(256, 192, {});
  EXPECT_EQ(full.path, "fused, bounds by arithmetic");
  EXPECT_EQ(full.pairs, 2 * 4 * 256 * 192);
  EXPECT_EQ(full.visible_pairs, full.pairs);
  EXPECT_EQ(full.computed_pairs, full.pairs);
  EXPECT_EQ(full.forward_operations, 4 * 16 * full.pairs);
  EXPECT_EQ(full.partial_tiles, 0);
  const auto causal = explain(256, 256, {.mask = Mask::causal()});
  EXPECT_EQ(causal.visible_pairs, 2 * 4 * 256.0 * 257 / 2);
  EXPECT_GE(causal.computed_pairs, causal.visible_pairs);
  EXPECT_LE(causal.computed_pairs, 1.1 * causal.visible_pairs);
  const Mask window = Mask::window(16, 0) | Mask::global({0});
  const auto sparse = explain(4096, 4096, {.mask = window});
  EXPECT_EQ(sparse.path, "fused, a tile plan");
  EXPECT_LT(sparse.computed_pairs, 0.1 * sparse.pairs);
  EXPECT_THAT(sparse.str(), ::testing::HasSubstr("window(16, 0) | global(0) is more than causal"));
  const auto held = explain(64, 64, {.plan = TilePlan(window, PlanShape::padded(2, 4, 64, 64))});
  EXPECT_THAT(held.str(), ::testing::HasSubstr("compiled before"));
  EXPECT_EQ(explain(1, 300, {}).path, "fused, one query, bounds by arithmetic");
  EXPECT_EQ(explain(8, 8, {}, DType::float64).path, "reference, pair by pair");
}

}  // namespace
}  // namespace headway
