// The array that Weights asks for, at every stage from product to weight.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include <headway/core/parallel.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway {
namespace {

using testing::random;
using testing::values_of;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Everything at once: groups, a mask, a bias with -inf, ALiBi, a softcap.
struct Call {
  Tensor q, k, v;
  AttentionOptions options;
  Mask mask;  // what options hide, but for the bias
};

Call call_of(DType dtype, std::int64_t queries, std::int64_t keys, const Mask& mask) {
  Call call;
  call.q = random({2, queries, 4, 6}, 1, dtype);
  call.k = random({2, keys, 2, 6}, 2, dtype);
  call.v = random({2, keys, 2, 3}, 3, dtype);
  const DType wide = dtype == DType::float64 ? dtype : DType::float32;
  const Tensor bias = random({4, queries, keys}, 4);
  for (std::int64_t i = 0; i < bias.numel(); i += 7) bias.data<double>()[i] = -kInfinity;
  call.mask = mask;
  call.options = {.mask = mask,
                  .bias = cast(bias, wide),
                  .position = Position::alibi(),
                  .softcap = 1.5,
                  .weights = Weights::per_head};
  return call;
}

Tensor at_stage(const Call& call, Scores stage, Weights kind = Weights::per_head) {
  AttentionOptions options = call.options;
  options.weights = kind;
  options.stage = stage;
  return attention(call.q, call.k, call.v, options).weights;
}

std::vector<double> alibi_slopes() { return {0.25, 0.0625, 0.015625, 0.00390625}; }  // 2^(-8h/H), H = 4

// The stages as their definition says, in double, from the inputs as they are stored: [B, H, T, S] each.
struct Expected {
  std::vector<double> raw, capped, masked, softmaxed;
};
Expected expected(const Call& call) {
  const auto q = values_of(call.q), k = values_of(call.k), bias = values_of(call.options.bias);
  const std::int64_t t = call.q.size(1), s = call.k.size(1);
  Expected out;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t h = 0; h < 4; ++h) {
      for (std::int64_t i = 0; i < t; ++i) {
        double total = 0;
        for (std::int64_t j = 0; j < s; ++j) {
          double dot = 0;
          for (std::int64_t d = 0; d < 6; ++d) {
            dot += q[static_cast<std::size_t>(((b * t + i) * 4 + h) * 6 + d)] *
                   k[static_cast<std::size_t>(((b * s + j) * 2 + h / 2) * 6 + d)];
          }
          out.raw.push_back(dot / std::sqrt(6.0));
          out.capped.push_back(1.5 * std::tanh(out.raw.back() / 1.5));
          const double added = bias[static_cast<std::size_t>((h * t + i) * s + j)];
          const auto distance = static_cast<double>(std::abs(i + s - t - j));
          const bool seen = call.mask.visible({b, h, i, j, t, s}) && added != -kInfinity;
          out.masked.push_back(seen ? out.capped.back() + added -
                                          alibi_slopes()[static_cast<std::size_t>(h)] * distance
                                    : -kInfinity);
          total += std::exp(out.masked.back());
        }
        for (std::int64_t j = 0; j < s; ++j) {
          const double score = out.masked[out.softmaxed.size()];
          out.softmaxed.push_back(score == -kInfinity ? 0 : std::exp(score) / total);
        }
      }
    }
  }
  return out;
}

void expect_values(const Tensor& got, const std::vector<double>& want, double tolerance,
                   const std::string& what) {
  const auto values = values_of(got);
  ASSERT_EQ(values.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (values[i] == want[i]) continue;  // infinities among them
    ASSERT_LE(std::abs(values[i] - want[i]), tolerance)
        << what << ", element " << i << ": " << values[i] << ", want " << want[i];
  }
}

// Scores are below 40, ALiBi's part of them, and carry some ten roundings of that size: a sum of 6 products,
// the conversion between units, the cap, two additions. In bfloat16 the inputs are taken as rounded, and the
// rest is float32.
TEST(AttentionScores, of_every_stage_are_what_its_definition_says) {
  for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16}) {
    const double tolerance = 40 * 10 * (dtype == DType::float64 ? 0x1p-53 : 0x1p-24);
    for (const auto& [queries, keys] : {std::pair{3, 5}, {1, 9}, {70, 130}, {100, 20}}) {
      for (const Mask& mask : {Mask(), Mask::causal(), Mask::window(9, 0), Mask::strided(3),
                               Mask::padding({keys, std::max(0, keys - 3)})}) {
        const Call call = call_of(dtype, queries, keys, mask);
        const Expected want = expected(call);
        const std::string what = mask.str() + " T " + std::to_string(queries);
        expect_values(at_stage(call, Scores::raw), want.raw, tolerance, "raw, " + what);
        expect_values(at_stage(call, Scores::capped), want.capped, tolerance, "capped, " + what);
        expect_values(at_stage(call, Scores::masked), want.masked, tolerance, "masked, " + what);
        expect_values(at_stage(call, Scores::softmaxed), want.softmaxed, tolerance, "softmaxed, " + what);
      }
    }
  }
}

// Scores are below 10, and carry some ten roundings of that size (as above). Nothing is of the cap's size.
TEST(AttentionScores, far_below_the_cap_are_not_rounded_to_what_it_is) {
  Call call = call_of(DType::float32, 70, 130, Mask());
  call.options.softcap = 1000;
  const auto raw = expected(call).raw;
  std::vector<double> want;
  for (const double score : raw) {
    ASSERT_LT(std::abs(score), 10);
    want.push_back(1000 * std::tanh(score / 1000));
  }
  expect_values(at_stage(call, Scores::capped), want, 10 * 10 * 0x1p-24, "capped");
}

TEST(AttentionScores, may_be_averaged_over_heads) {
  const Call call = call_of(DType::float32, 70, 130, Mask::causal());
  for (const Scores stage : {Scores::raw, Scores::capped, Scores::masked, Scores::softmaxed}) {
    const auto each = values_of(at_stage(call, stage));
    std::vector<double> mean(each.size() / 4);
    const std::size_t map = 70 * 130;
    for (std::size_t i = 0; i < mean.size(); ++i) {
      for (std::size_t h = 0; h < 4; ++h) mean[i] += each[(i / map * 4 + h) * map + i % map] / 4;
    }
    expect_values(at_stage(call, stage, Weights::averaged), mean, 8 * 0x1p-22, "mean");
  }
}

TEST(AttentionScores, without_a_softcap_are_raw_where_capped_is_asked_for) {
  Call call = call_of(DType::float32, 20, 30, Mask::causal());
  call.options.softcap = 0;
  testing::expect_bitwise_equal(at_stage(call, Scores::capped), at_stage(call, Scores::raw), "capped");
}

TEST(AttentionScores, show_a_nan_where_nothing_hides_it) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Call call = call_of(dtype, 3, 5, Mask::padding({5, 3}));
    const Tensor last = slice(slice(call.k, 0, 1, 2), 1, 4, 5);  // hidden in the second sequence
    copy_into(last, full(last.shape(), std::nan(""), dtype));
    const auto raw = values_of(at_stage(call, Scores::raw)),
               masked = values_of(at_stage(call, Scores::masked));
    for (std::size_t i = 0; i < raw.size(); ++i) {
      EXPECT_EQ(std::isnan(raw[i]), i >= raw.size() / 2 && i % 5 == 4) << i;
      EXPECT_FALSE(std::isnan(masked[i])) << i;
    }
  }
}

TEST(AttentionScores, of_a_packed_batch_are_those_of_its_sequences_and_hide_what_is_beyond) {
  const Tensor q = random({7, 2, 4}, 1, DType::float32), k = random({9, 2, 4}, 2, DType::float32),
               v = random({9, 2, 4}, 3, DType::float32);
  for (const Scores stage : {Scores::raw, Scores::masked, Scores::softmaxed}) {
    const Tensor all = attention(q, k, v,
                                 {.mask = Mask::causal(),
                                  .query_offsets = {0, 3, 7},
                                  .key_offsets = {0, 3, 9},
                                  .weights = Weights::per_head,
                                  .stage = stage})
                           .weights;
    ASSERT_EQ(all.shape().str(), "[2, 2, 4, 6]");
    const auto first = attention(slice(q, 0, 0, 3), slice(k, 0, 0, 3), slice(v, 0, 0, 3),
                                 {.mask = Mask::causal(),
                                  .query_offsets = {0, 3},
                                  .key_offsets = {0, 3},
                                  .weights = Weights::per_head,
                                  .stage = stage})
                           .weights;
    const Tensor part = slice(all, 0, 0, 1);
    testing::expect_bitwise_equal(slice(slice(part, 2, 0, 3), 3, 0, 3), first, "the first sequence");
    for (const Tensor& beyond : {slice(part, 2, 3, 4), slice(part, 3, 3, 6)}) {
      for (const double value : values_of(beyond)) EXPECT_EQ(value, stage == Scores::masked ? -kInfinity : 0);
    }
  }
}

TEST(AttentionScores, of_a_cache_are_those_of_its_keys) {
  const Tensor q = random({2, 2, 2, 4}, 1, DType::float32), k = random({2, 6, 2, 4}, 2, DType::float32);
  const auto raw = values_of(
      attention(
          q, k, k,
          {.mask = Mask::causal(), .key_lengths = {6, 2}, .weights = Weights::per_head, .stage = Scores::raw})
          .weights);
  for (std::size_t i = 0; i < raw.size(); ++i) EXPECT_EQ(raw[i] == 0, i >= raw.size() / 2 && i % 6 >= 2) << i;
}

TEST(AttentionScores, have_the_same_bits_for_any_number_of_threads) {
  const int before = threads();
  const Call call = call_of(DType::float32, 150, 200, Mask::causal());
  for (const Scores stage : {Scores::raw, Scores::masked}) {
    for (const Weights kind : {Weights::per_head, Weights::averaged}) {
      set_threads(1);
      const Tensor want = at_stage(call, stage, kind);
      for (const int count : {2, 3, 4, 7}) {
        set_threads(count);
        testing::expect_bitwise_equal(at_stage(call, stage, kind), want, "scores");
      }
    }
  }
  set_threads(before);
}

TEST(AttentionScores, have_a_shape_on_meta) {
  const auto shaped = [](std::int64_t length) {
    return Tensor::empty({2, length, 4, 8}, DType::bfloat16, Device::meta);
  };
  const Tensor scores =
      attention(shaped(3), shaped(5), shaped(5), {.weights = Weights::per_head, .stage = Scores::raw})
          .weights;
  EXPECT_EQ(scores.describe(), "float32 [2, 4, 3, 5]");
  EXPECT_EQ(scores.device(), Device::meta);
}

}  // namespace
}  // namespace headway
