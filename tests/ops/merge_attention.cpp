#include <headway/ops/merge_attention.h>

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include <headway/ops/composed.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Merge = AttentionResult (*)(const std::vector<AttentionResult>&);

// Inputs are output and log-sum-exp in turn.
testing::Function runs(Merge merge) {
  return [merge](const Tensors& in) {
    std::vector<AttentionResult> parts;
    for (std::size_t i = 0; i < in.size(); i += 2)
      parts.push_back({.output = in[i], .weights = {}, .log_sum_exp = in[i + 1]});
    const AttentionResult got = merge(parts);
    return Tensors{got.output, got.log_sum_exp};
  };
}

// Log-sum-exps of some units apart, so that weights differ. A weight has the roundings of an exponential and
// a quotient, c_i is a sum over Dv, and dL_i the difference of c_i and its mean.
OpCase one(int count, const Shape& output, double spread = 1) {
  const std::int64_t dim = output[-1];
  OpCase out;
  out.name = fmt::format("{} parts of {}, spread {}", count, output.str(), spread);
  const Shape sums =
      output.rank() == 3 ? Shape{output[1], output[0]} : Shape{output[0], output[2], output[1]};
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(2 * i);
    out.inputs.push_back(random(output, seed + 1));
    out.inputs.push_back(random(sums, seed + 2, DType::float64, spread));
    out.parameter.push_back(false);
    out.parameter.push_back(true);
  }
  out.tolerance = {2, 32 + 2 * static_cast<double>(dim), 2 * std::sqrt(static_cast<double>(dim))};
  out.run = runs(merge_attention);
  return out;
}
std::vector<OpCase> small() {
  return {one(1, {2, 3, 2, 4}), one(2, {2, 3, 2, 4}),    one(3, {2, 5, 3, 17}, 4),
          one(2, {6, 2, 5}),    one(5, {1, 4, 1, 1}, 9), one(4, {7, 3, 35})};
}
OpCase large() { return one(3, {3, 130, 4, 40}); }
std::vector<std::pair<OpCase, testing::Function>> composition() {
  std::vector<std::pair<OpCase, testing::Function>> all;
  for (const OpCase& test : small()) all.emplace_back(test, runs(composed::merge_attention));
  return all;
}
HEADWAY_OP_SUITE(merge_attention, small, large)
HEADWAY_OP_COMPOSED(merge_attention, composition)

// --- Attention over keys cut in parts ---------------------------------------------------------------------

struct Cut {
  std::int64_t queries, keys;
  std::vector<std::int64_t> ends;  // of the parts
  bool packed = false;
};

// [q, k, v] -> output and log-sum-exp, of all keys at once or of every part, joined.
testing::Function attends(const Cut& cut, bool whole) {
  return [=](const Tensors& in) {
    const auto over = [&](std::int64_t begin, std::int64_t end) {
      AttentionOptions options{.log_sum_exp = true};
      Tensor k = slice(in[1], 1, begin, end), v = slice(in[2], 1, begin, end), q = in[0];
      if (cut.packed) {
        options.query_offsets = {0, cut.queries, 2 * cut.queries};
        options.key_offsets = {0, end - begin, 2 * (end - begin)};
        const auto rows = [](const Tensor& x) {
          return reshape(x, {x.size(0) * x.size(1), x.size(2), x.size(3)});
        };
        q = rows(q);
        k = rows(k);
        v = rows(v);
      }
      return attention(q, k, v, options);
    };
    if (whole) {
      const AttentionResult got = over(0, cut.keys);
      return Tensors{got.output, got.log_sum_exp};
    }
    std::vector<AttentionResult> parts;
    std::int64_t begin = 0;
    for (const std::int64_t end : cut.ends) {
      parts.push_back(over(begin, end));
      begin = end;
    }
    const AttentionResult got = merge_attention(parts);
    return Tensors{got.output, got.log_sum_exp};
  };
}

// Both sides may be as far from the truth as attention.cpp says of one; in bfloat16 parts are rounded before
// they are joined, outputs and the gradients that flow back into them.
TEST(MergeAttention, of_keys_cut_in_parts_is_attention_over_all_of_them) {
  for (const Cut& cut : {Cut{5, 7, {3, 7}}, Cut{5, 7, {2, 2, 7}}, Cut{70, 200, {96, 150, 200}},
                         Cut{1, 300, {100, 300}}, Cut{9, 20, {8, 20}, true}, Cut{4, 6, {1, 3, 6}, true}}) {
    OpCase merged;
    merged.name =
        fmt::format("T{} S{} in {}{}", cut.queries, cut.keys, cut.ends.size(), cut.packed ? " packed" : "");
    merged.inputs = {random({2, cut.queries, 4, 12}, 1), random({2, cut.keys, 2, 12}, 2),
                     random({2, cut.keys, 2, 9}, 3)};
    merged.tolerance = {8, 100, 2 * std::sqrt(9.0)};
    merged.run = attends(cut, false);
    for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16})
      testing::check_composed(merged, attends(cut, true), dtype);
  }
}

// Values of the result, and gradients of all inputs for a scalar of both outputs.
struct Got {
  Tensors outputs, gradients;
};
Got merged(const Tensors& in) {
  OpCase test;
  test.run = runs(merge_attention);
  Tensors leaves;
  for (const Tensor& x : in) leaves.push_back(require_grad(x.detach()));
  Got got;
  got.outputs = test.run(leaves);
  sum(mul(got.outputs[0], random(got.outputs[0].shape(), 8, in[0].dtype()))).backward();
  // Again, for the log-sum-exp: of an empty result it is -inf, so it is not added to anything.
  const Tensors second = test.run(leaves);
  second[1].backward(cast(random(second[1].shape(), 9), in[1].dtype()));
  for (const Tensor& leaf : leaves) got.gradients.push_back(leaf.grad());
  return got;
}

TEST(MergeAttention, an_empty_part_adds_nothing_though_its_output_is_nan) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    const DType wide = dtype == DType::float64 ? dtype : DType::float32;
    const Tensor o = random({2, 3, 2, 19}, 1, dtype), sums = cast(random({2, 2, 3}, 2), wide);
    const Tensor nothing = full(o.shape(), std::nan(""), dtype), none = full(sums.shape(), -kInfinity, wide);
    const Got alone = merged({o, sums}), first = merged({nothing, none, o, sums}),
              last = merged({o, sums, nothing, none});
    testing::expect_bitwise_equal(alone.outputs[0], o, "output of one part");
    testing::expect_bitwise_equal(alone.outputs[1], sums, "log-sum-exp of one part");
    for (std::size_t i = 0; i < 2; ++i) {
      testing::expect_bitwise_equal(first.outputs[i], alone.outputs[i], "after an empty part");
      testing::expect_bitwise_equal(last.outputs[i], alone.outputs[i], "before an empty part");
      testing::expect_bitwise_equal(first.gradients[2 + i], alone.gradients[i], "gradient after");
      testing::expect_bitwise_equal(last.gradients[i], alone.gradients[i], "gradient before");
      for (const Tensor& gradient : {first.gradients[i], last.gradients[2 + i]}) {
        for (const double value : testing::values_of(gradient)) EXPECT_EQ(value, 0);
      }
    }
  }
}

TEST(MergeAttention, of_empty_parts_is_empty_with_gradients_of_zero) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64}) {
    const DType wide = dtype == DType::float64 ? dtype : DType::float32;
    const Tensor zero = zeros({2, 3, 2, 5}, dtype), nan = full({2, 3, 2, 5}, std::nan(""), dtype),
                 none = full({2, 2, 3}, -kInfinity, wide);
    for (const Tensors& in : {Tensors{zero, none}, Tensors{zero, none, nan, none}}) {
      const Got got = merged(in);
      for (const double value : testing::values_of(got.outputs[0])) EXPECT_EQ(value, 0);
      for (const double value : testing::values_of(got.outputs[1])) EXPECT_EQ(value, -kInfinity);
      for (const Tensor& gradient : got.gradients) {
        for (const double value : testing::values_of(gradient)) EXPECT_EQ(value, 0);
      }
    }
  }
}

TEST(MergeAttention, log_sum_exps_far_from_zero_neither_overflow_nor_vanish) {
  for (const double base : {3e4, -3e4}) {
    const Tensor a = random({1, 2, 1, 4}, 1, DType::float32), b = random({1, 2, 1, 4}, 2, DType::float32);
    const Tensor at = full({1, 1, 2}, base);
    const AttentionResult got = merge_attention({{a, {}, at}, {b, {}, at}});
    const auto x = testing::values_of(a), y = testing::values_of(b), mean = testing::values_of(got.output);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(mean[i], (x[i] + y[i]) / 2, 4 * 0x1p-24);
    for (const double value : testing::values_of(got.log_sum_exp))
      EXPECT_NEAR(value, base + std::log(2), 3e4 * 0x1p-23);
  }
}

// The log-sum-exp may be a view by heads, as attention() makes it, and one of the gradients may be missing.
TEST(MergeAttention, takes_what_attention_returns_and_either_of_the_results_alone) {
  const Tensor q = random({2, 4, 2, 3}, 1), k = random({2, 6, 2, 3}, 2), v = random({2, 6, 2, 3}, 3);
  for (const int used : {0, 1}) {
    const auto pick = [used](const testing::Function& run) {
      return [=](const Tensors& in) { return Tensors{run(in)[static_cast<std::size_t>(used)]}; };
    };
    const Cut cut{4, 6, {2, 6}};
    OpCase part{"one result", pick(attends(cut, false)), {q, k, v}, {8, 100, 4}};
    testing::check_composed(part, pick(attends(cut, true)), DType::float64);
  }
}

TEST(MergeAttention, what_does_not_fit_is_refused) {
  const auto message = [](const std::vector<AttentionResult>& parts) -> std::string {
    try {
      merge_attention(parts);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using ::testing::HasSubstr;
  const AttentionResult good{zeros({2, 3, 4, 5}), {}, zeros({2, 4, 3})};
  EXPECT_EQ(message({}), "merge_attention: parts are none; want at least one");
  EXPECT_THAT(message({good, {zeros({2, 3, 4, 5}), {}, {}}}),
              HasSubstr("part 1 is undefined; want float32 [2, 4, 3]"));
  EXPECT_THAT(message({good, {zeros({2, 3, 4, 5}), {}, {}}}), HasSubstr(".log_sum_exp = true"));
  EXPECT_THAT(message({good, {zeros({2, 3, 4, 6}), {}, zeros({2, 4, 3})}}), HasSubstr("want equal"));
  EXPECT_THAT(message({{zeros({2, 3, 4, 5}), {}, zeros({2, 3, 4})}}), HasSubstr("want float32 [2, 4, 3]"));
  EXPECT_THAT(message({{zeros({3, 4}), {}, zeros({3})}}), HasSubstr("packed [N, H, Dv]"));
}

}  // namespace
}  // namespace headway
