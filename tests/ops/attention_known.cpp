// Results that are known go on the tape without being computed: AttentionOptions::known.
#include <gtest/gtest.h>

#include <vector>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/attention.h>
#include <headway/ops/views.h>

#include "support/compare.h"

namespace headway {
namespace {

using testing::expect_bitwise_equal;

struct Inputs {
  std::vector<Tensor> leaves;
  explicit Inputs(bool packed, DType dtype = DType::float32) {
    Generator generator(3);
    for (const std::int64_t heads : {4, 2, 2}) {
      const Shape shape = packed ? Shape{11, heads, 8} : Shape{2, 11, heads, 8};
      leaves.push_back(require_grad(cast(randn(shape, generator), dtype)));
    }
  }
  AttentionResult attend(const AttentionOptions& options) const {
    return attention(leaves[0], leaves[1], leaves[2], options);
  }
  std::vector<Tensor> gradients(const AttentionOptions& options) const {
    for (const Tensor& leaf : leaves) leaf.set_grad({});
    const Tensor output = attend(options).output;
    Generator generator(4);
    output.backward(cast(randn(output.shape(), generator), output.dtype()));
    return {leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
  }
};

std::vector<AttentionOptions> calls() {
  Generator generator(5);
  std::vector<AttentionOptions> out(4);
  out[0].mask = Mask::causal();
  out[1].mask = Mask::strided(3);
  out[1].dropout = 0.3;
  out[2].position = Position::rope();
  out[3].position = Position::shaw(randn({5, 8}, generator));
  out[3].bias = randn({1, 4, 11, 11}, generator);
  return out;
}

TEST(AttentionKnown, gives_the_gradients_of_the_call_that_computed_it_to_the_bit) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (AttentionOptions options : calls()) {
      const Inputs inputs(false, dtype);
      options.log_sum_exp = true;
      Generator first(7), again(7), once_more(7);
      options.generator = &first;
      const auto wanted = inputs.gradients(options);
      AttentionResult known;
      {
        const NoGrad no_grad;
        options.generator = &again;
        known = inputs.attend(options);
      }
      options.generator = &once_more;
      options.known = &known;
      const auto got = inputs.gradients(options);
      for (std::size_t i = 0; i < 3; ++i) expect_bitwise_equal(got[i], wanted[i], "gradient");
    }
  }
}

TEST(AttentionKnown, may_be_packed) {
  const Inputs inputs(true);
  AttentionOptions options{.query_offsets = {0, 4, 11}, .key_offsets = {0, 4, 11}, .log_sum_exp = true};
  const auto wanted = inputs.gradients(options);
  const AttentionResult result = inputs.attend(options);
  const AttentionResult known{result.output.detach(), {}, result.log_sum_exp.detach()};
  options.known = &known;
  const auto got = inputs.gradients(options);
  for (std::size_t i = 0; i < 3; ++i) expect_bitwise_equal(got[i], wanted[i], "gradient");
}

TEST(AttentionKnown, is_taken_as_it_is_and_not_computed) {
  const Inputs inputs(false);
  const AttentionResult known{full({2, 11, 4, 8}, 5), {}, zeros({2, 4, 11})};
  const AttentionResult got = inputs.attend({.log_sum_exp = true, .known = &known});
  expect_bitwise_equal(got.output.detach(), known.output, "output");
  expect_bitwise_equal(got.log_sum_exp.detach(), known.log_sum_exp, "log-sum-exp");
}

TEST(AttentionKnown, is_refused_where_it_does_not_fit_the_call) {
  const Inputs inputs(false);
  const Tensor output = zeros({2, 11, 4, 8}), sums = zeros({2, 4, 11});
  for (const AttentionResult& known :
       {AttentionResult{zeros({2, 11, 4, 7}), {}, sums}, AttentionResult{output, {}, zeros({2, 11, 4})},
        AttentionResult{cast(output, DType::float64), {}, sums}, AttentionResult{output, {}, {}},
        AttentionResult{{}, {}, sums}}) {
    EXPECT_THROW(inputs.attend({.known = &known}), Error);
  }
}

}  // namespace
}  // namespace headway
