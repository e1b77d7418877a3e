// Positions by vectors, modifiers and gathered patterns: what their definitions promise.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <cmath>

#include <headway/core/factory.h>
#include <headway/ops/all.h>
#include <support/compare.h>
#include <support/gradcheck.h>

namespace headway {
namespace {

using testing::random;
using Tensors = std::vector<Tensor>;

std::vector<float> numbers(const Tensor& x) { return contiguous(x).to_vector<float>(); }

TEST(AttentionRelative, shaws_key_term_alone_is_the_softmax_of_qk_plus_qr) {
  constexpr int kLength = 40, kDim = 6, kReach = 3;
  const Tensor q = random({1, kLength, 1, kDim}, 1, DType::float32),
               k = random({1, kLength, 1, kDim}, 2, DType::float32),
               v = random({1, kLength, 1, 1}, 3, DType::float32),
               r = random({2 * kReach + 1, kDim}, 4, DType::float32);
  const auto got = numbers(attention(q, k, v, {.position = Position::shaw(r)}).output);
  for (int i = 0; i < kLength; ++i) {
    double sum = 0, total = 0;
    for (int j = 0; j < kLength; ++j) {
      double score = 0;
      const int row = std::clamp(j - i, -kReach, kReach) + kReach;
      for (int d = 0; d < kDim; ++d) {
        score += static_cast<double>(q.data<float>()[i * kDim + d]) *
                 static_cast<double>(k.data<float>()[j * kDim + d] + r.data<float>()[row * kDim + d]);
      }
      const double weight = std::exp(score / std::sqrt(static_cast<double>(kDim)));
      total += weight;
      sum += weight * static_cast<double>(v.data<float>()[j]);
    }
    // 40 weights, each with a few roundings of scores below 10.
    EXPECT_NEAR(got[static_cast<std::size_t>(i)], sum / total, 1e-5);
  }
}

// The last queries of a sequence, with what came before as memory, are what they are in the whole: segment by
// segment equals at once (Dai et al. 2019).
TEST(AttentionRelative, a_segment_with_memory_equals_the_tail_of_the_whole_to_rounding) {
  const Tensor x = random({2, 150, 4, 16}, 1, DType::float32), r = random({150, 4, 16}, 2, DType::float32),
               u = random({4, 16}, 3, DType::float32), w = random({4, 16}, 4, DType::float32);
  const AttentionOptions options{.mask = Mask::causal(), .position = Position::transformer_xl(r, u, w)};
  const Tensor whole = attention(x, x, x, options).output;
  const Tensor segment = attention(slice(x, 1, 100, 150), x, x, options).output;
  const auto a = numbers(slice(whole, 1, 100, 150)), b = numbers(segment);
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5);
}

TEST(AttentionRelative, offsets_without_a_vector_are_refused_unless_hidden) {
  const Tensor x = random({1, 20, 2, 4}, 1, DType::float32), u = zeros({2, 4}), w = zeros({2, 4});
  const auto attend = [&](std::int64_t rows, const Mask& mask, std::optional<std::int64_t> least = {}) {
    return attention(x, x, x,
                     {.mask = mask, .position = Position::transformer_xl(zeros({rows, 2, 4}), u, w, least)})
        .output;
  };
  EXPECT_NO_THROW(attend(20, Mask::causal()));
  EXPECT_NO_THROW(attend(39, Mask(), -19));
  EXPECT_NO_THROW(attend(6, Mask::window(5, 0)));
  EXPECT_NO_THROW(attend(9, Mask::strided(2) & Mask::dilated(4, 0, 2)));
  EXPECT_NO_THROW(attend(1, !Mask()));  // nothing is seen
  const auto message = [&](std::int64_t rows, const Mask& mask) -> std::string {
    try {
      attend(rows, mask);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(
      message(20, Mask()),
      ::testing::HasSubstr("has vectors for offsets -19 to 0 (key less query); the pairs that are seen "
                           "need -19 to 19"));
  EXPECT_THAT(message(8, Mask::strided(2) & Mask::dilated(4, 0, 2)), ::testing::HasSubstr("need -8 to 0"));
  EXPECT_THAT(message(5, Mask::window(5, 0)), ::testing::HasSubstr("need -5 to 0"));
}

TEST(AttentionRelative, vectors_that_do_not_fit_are_refused) {
  const Tensor x = random({1, 20, 2, 4}, 1, DType::float32);
  const auto attend = [&](const Position& position) { return attention(x, x, x, {.position = position}); };
  EXPECT_THROW(Position::shaw(zeros({4, 4})), Error);                         // not odd
  EXPECT_THROW(Position::shaw(zeros({5, 4}, DType::bfloat16)), Error);        // learned in float32
  EXPECT_THROW(attend(Position::shaw(zeros({5, 3}))), Error);                 // another D
  EXPECT_THROW(attend(Position::shaw(zeros({3, 5, 4}))), Error);              // other heads
  EXPECT_THROW(attend(Position::shaw(zeros({5, 4}), zeros({5, 3}))), Error);  // another Dv
  EXPECT_THROW(Position::transformer_xl(zeros({9, 2, 4}), zeros({2, 4}), zeros({4})), Error);
}

struct Double {
  template <typename T>
  void apply(const ScoreTile<T>& s, const T* w) const {
    for (std::int64_t j = 0; j < s.keys; ++j)
      for (std::int64_t i = 0; i < s.queries; ++i) s.at(i, j) *= w[0];
  }
  template <typename T>
  void derive(const ScoreTile<T>& s, const ScoreTile<T>& g, const T* w, T* dw) const {
    for (std::int64_t j = 0; j < s.keys; ++j) {
      for (std::int64_t i = 0; i < s.queries; ++i) {
        dw[0] += g.at(i, j) * s.at(i, j);
        g.at(i, j) *= w[0];
      }
    }
  }
};

// Rows of the tables that only hidden pairs would read, and hidden keys, hold NaN.
TEST(AttentionRelative, what_is_hidden_reaches_nothing_through_vectors_or_modifiers) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr std::int64_t kLength = 100, kReach = 20;
  const auto run = [&](bool damaged, bool planned) {
    const Tensor q = require_grad(random({1, kLength, 2, 8}, 1, DType::float32));
    const Tensor k = random({1, kLength, 2, 8}, 2, DType::float32),
                 v = random({1, kLength, 2, 8}, 3, DType::float32);
    const Tensor a = random({2 * kReach + 1, 8}, 4, DType::float32),
                 c = random({2 * kReach + 1, 8}, 5, DType::float32);
    if (damaged) {  // under the mask below, offsets above 0 and the last 10 keys are never seen
      for (std::int64_t i = (kReach + 1) * 8; i < a.numel(); ++i)
        a.data<float>()[i] = c.data<float>()[i] = kNan;
      for (std::int64_t i = 90 * 16; i < kLength * 16; ++i) k.data<float>()[i] = v.data<float>()[i] = kNan;
    }
    const Tensor keys = require_grad(k), values = require_grad(v), ra = require_grad(a), rc = require_grad(c),
                 w = require_grad(full({1}, 2.0));
    Mask mask = Mask::causal() & Mask::padding({90});
    if (planned) mask = Mask::strided(3) & Mask::where([](const PairPosition& at) { return at.key < 90; });
    const Tensor out =
        attention(q, keys, values,
                  {.mask = mask, .position = Position::shaw(ra, rc), .modifier = ScoreModifier(Double{}, w)})
            .output;
    sum(mul(out, random(out.shape(), 42, DType::float32))).backward();
    return Tensors{out, q.grad(), keys.grad(), values.grad(), ra.grad(), rc.grad(), w.grad()};
  };
  for (const bool planned : {false, true}) {
    const Tensors clean = run(false, planned), got = run(true, planned);
    for (std::size_t i = 0; i < clean.size(); ++i)
      testing::expect_bitwise_equal(got[i], clean[i], "result " + std::to_string(i));
  }
}

// Scores lose a·log(1 + distance), with an a that is learned.
struct LogDistance {
  template <typename T>
  void apply(const ScoreTile<T>& s, const T* a) const {
    for (std::int64_t j = 0; j < s.keys; ++j)
      for (std::int64_t i = 0; i < s.queries; ++i) s.at(i, j) -= a[0] * penalty<T>(s.distance(i, j));
  }
  template <typename T>
  void derive(const ScoreTile<T>& s, const ScoreTile<T>& gradient, const T*, T* d_a) const {
    for (std::int64_t j = 0; j < s.keys; ++j)
      for (std::int64_t i = 0; i < s.queries; ++i) d_a[0] -= gradient.at(i, j) * penalty<T>(s.distance(i, j));
  }
  template <typename T>
  static T penalty(std::int64_t distance) {
    return std::log1p(static_cast<T>(std::abs(distance)));
  }
};

TEST(AttentionRelative, packed_equals_padded_to_the_bit) {
  const std::vector<std::int64_t> lengths = {5, 110, 1}, offsets = {0, 5, 115, 116};
  const Tensor r = random({221, 2, 8}, 4, DType::float32), u = random({2, 8}, 5, DType::float32),
               rows = random({2 * 9 + 1, 8}, 6, DType::float32), a = full({1}, 0.4);
  const Tensor x = random({3, 110, 2, 8}, 1, DType::float32);
  std::vector<Tensor> parts;
  for (std::int64_t b = 0; b < 3; ++b) {
    const std::int64_t length = lengths[static_cast<std::size_t>(b)];
    parts.push_back(reshape(slice(slice(x, 0, b, b + 1), 1, 0, length), {length, 2, 8}));
  }
  const Tensor packed = concat(parts, 0);
  for (int variant = 0; variant < 3; ++variant) {
    AttentionOptions options;
    if (variant == 0) options.position = Position::transformer_xl(r, u, u, -110);
    if (variant == 1) options.position = Position::shaw(rows, rows);
    if (variant == 2) options.modifier = ScoreModifier(LogDistance{}, a);
    AttentionOptions of_packed = options, of_padded = options;
    of_packed.mask = Mask::causal();
    of_packed.query_offsets = of_packed.key_offsets = offsets;
    of_padded.mask = Mask::causal() & Mask::padding(lengths);
    const Tensor one = attention(packed, packed, packed, of_packed).output,
                 other = attention(x, x, x, of_padded).output;
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t begin = offsets[static_cast<std::size_t>(b)],
                         end = offsets[static_cast<std::size_t>(b + 1)];
      testing::expect_bitwise_equal(
          slice(one, 0, begin, end),
          reshape(slice(slice(other, 0, b, b + 1), 1, 0, end - begin), {end - begin, 2, 8}),
          "variant " + std::to_string(variant));
    }
  }
}

TEST(ScoreModifier, equals_the_bias_that_it_computes_and_its_gradient) {
  Tensor bias = zeros({70, 110}, DType::float64);
  for (std::int64_t i = 0; i < 70; ++i) {
    for (std::int64_t j = 0; j < 110; ++j)
      bias.data<double>()[i * 110 + j] = -0.7 * LogDistance::penalty<double>(i + 40 - j);
  }
  for (const DType dtype : {DType::float32, DType::float64}) {
    const auto run = [&](bool modified) {
      const Tensor x = require_grad(random({2, 70, 2, 8}, 1, dtype)), k = random({2, 110, 2, 8}, 2, dtype),
                   v = random({2, 110, 2, 8}, 3, dtype);
      AttentionOptions options;
      if (modified) options.modifier = ScoreModifier(LogDistance{}, full({1}, 0.7, dtype));
      if (!modified) options.bias = cast(bias, dtype);
      const Tensor out = attention(x, k, v, options).output;
      sum(mul(out, out)).backward();
      return Tensors{out, x.grad()};
    };
    const Tensors a = run(true), b = run(false);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto left = testing::values_of(a[i]), right = testing::values_of(b[i]);
      const double allowed = dtype == DType::float64 ? 1e-12 : 2e-5;
      for (std::size_t n = 0; n < left.size(); ++n) ASSERT_NEAR(left[n], right[n], allowed);
    }
  }
}

TEST(ScoreModifier, passes_the_gradient_check) {
  for (const Mask& mask : {Mask::causal(), Mask::strided(2)}) {
    testing::OpCase test{
        "log distance",
        [mask](const Tensors& in) {
          return Tensors{
              attention(
                  in[0], in[1], in[2],
                  {.mask = mask, .softcap = 3, .modifier = ScoreModifier(LogDistance{}, contiguous(in[3]))})
                  .output};
        },
        {random({2, 34, 2, 3}, 1), random({2, 34, 1, 3}, 2), random({2, 34, 1, 2}, 3), random({1}, 4)},
        {6, 64},
        {false, false, false, true}};
    testing::gradcheck(test);
    testing::check_threads(test, DType::float32);
  }
}

struct Throws {
  template <typename T>
  void apply(const ScoreTile<T>&, const T*) const {
    throw Error(ErrorCode::value, "mine", "on purpose");
  }
  template <typename T>
  void derive(const ScoreTile<T>&, const ScoreTile<T>&, const T*, T*) const {}
};

TEST(ScoreModifier, an_error_in_it_reaches_the_caller) {
  const Tensor x = random({1, 20, 2, 4}, 1, DType::float32);
  EXPECT_THROW(attention(x, x, x, {.modifier = ScoreModifier(Throws{})}), Error);
}

TEST(GatheredPatterns, equal_what_whole_tiles_give) {
  const Tensor q = random({2, 200, 2, 16}, 1, DType::float32), k = random({2, 230, 2, 16}, 2, DType::float32),
               v = random({2, 230, 2, 16}, 3, DType::float32);
  for (const Mask& mask : {Mask::strided(8), Mask::dilated(5, 5, 3), Mask::strided(4) | Mask::global({7})}) {
    // A callable says nothing of residues: its pairs stay in whole tiles.
    const Mask whole = Mask::where([mask](const PairPosition& at) { return mask.visible(at); });
    for (const double dropout : {0.0, 0.3}) {
      const auto run = [&](const Mask& of) {
        Generator generator(5);
        const Tensor a = require_grad(q.detach()), b = require_grad(k.detach()), c = require_grad(v.detach());
        const Tensor out =
            attention(
                a, b, c,
                {.mask = of, .position = Position::alibi(), .dropout = dropout, .generator = &generator})
                .output;
        sum(mul(out, out)).backward();
        return Tensors{out, a.grad(), b.grad(), c.grad()};
      };
      const Tensors gathered = run(mask), plain = run(whole);
      for (std::size_t i = 0; i < plain.size(); ++i) {
        const auto left = numbers(gathered[i]), right = numbers(plain[i]);
        for (std::size_t n = 0; n < left.size(); ++n) ASSERT_NEAR(left[n], right[n], 2e-5) << mask.str();
      }
    }
  }
}

}  // namespace
}  // namespace headway
