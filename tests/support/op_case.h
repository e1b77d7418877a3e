#pragma once
#include <functional>
#include <string>
#include <vector>

#include <headway/autograd/tape.h>
#include <headway/core/parallel.h>
#include <headway/ops/pointwise.h>
#include <support/compare.h>
#include <support/random.h>

/// An op with inputs, and the checks that every op goes through (DESIGN.md, section 8).
namespace headway::testing {

using Function = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

struct OpCase {
  std::string name;            ///< what is special about it, for messages
  Function run;                ///< a function of the inputs alone: it makes its own generators
  std::vector<Tensor> inputs;  ///< float64; all of them get gradients
  Tolerance tolerance = {};
  std::vector<bool> parameter = {};  ///< inputs that stay float32 when the op runs in bfloat16
  bool differentiable = true;
};

struct Evaluation {
  std::vector<Tensor> outputs, gradients;
};

inline DType dtype_of_input(const OpCase& op, std::size_t i, DType dtype) {
  const bool parameter = i < op.parameter.size() && op.parameter[i];
  return parameter && dtype == DType::bfloat16 ? DType::float32 : dtype;
}

inline std::vector<Tensor> inputs_as(const OpCase& op, DType dtype) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < op.inputs.size(); ++i)
    inputs.push_back(cast(op.inputs[i], dtype_of_input(op, i, dtype)));
  return inputs;
}

/// Fixed numbers that the elements of an output are weighted with: each a bfloat16, so that they are exact
/// everywhere.
inline Tensor weights_for(const Tensor& output, std::size_t index) {
  if (output.device() == Device::meta) return Tensor::empty(output.shape(), DType::float64, Device::meta);
  return cast(random(output.shape(), 900 + index, DType::bfloat16), DType::float64);
}

/// Σ outputs · weights, in float64: the scalar whose gradients are compared.
inline Tensor objective(const std::vector<Tensor>& outputs) {
  Tensor total;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!is_floating(outputs[i].dtype())) continue;
    const Tensor term = sum(mul(cast(outputs[i], DType::float64), weights_for(outputs[i], i)));
    total = total.defined() ? add(total, term) : term;
  }
  return total;
}

inline Evaluation evaluate(const OpCase& op, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) {
    leaves.push_back(input.detach());
    if (op.differentiable) require_grad(leaves.back());
  }
  Evaluation result;
  result.outputs = op.run(leaves);
  if (op.differentiable) {
    const Tensor total = objective(result.outputs);
    if (total.requires_grad()) total.backward();
    for (const Tensor& leaf : leaves) result.gradients.push_back(leaf.grad());
  }
  return result;
}

/// Outputs and gradients in `dtype` against float64's of the same (rounded) inputs.
inline void check_reference(const OpCase& op, DType dtype) {
  const auto low = inputs_as(op, dtype);
  std::vector<Tensor> high;
  for (const Tensor& input : low) high.push_back(cast(input, DType::float64));
  const Evaluation got = evaluate(op, low), want = evaluate(op, high);
  const std::string what = op.name + " in " + std::string(name_of(dtype));
  for (std::size_t i = 0; i < want.outputs.size(); ++i) {
    expect_close(got.outputs[i], want.outputs[i], dtype, op.tolerance,
                 what + ", output " + std::to_string(i));
  }
  for (std::size_t i = 0; i < want.gradients.size(); ++i) {
    ASSERT_TRUE(got.gradients[i].defined() && want.gradients[i].defined())
        << what << ": no gradient of input " << i;
    expect_close(got.gradients[i], want.gradients[i], dtype, op.tolerance,
                 what + ", gradient " + std::to_string(i));
  }
}

/// The same shapes, dtypes and gradients' shapes from tensors without elements.
inline void check_meta(const OpCase& op, DType dtype) {
  const auto real = inputs_as(op, dtype);
  std::vector<Tensor> shapes;
  for (const Tensor& input : real)
    shapes.push_back(Tensor::empty(input.shape(), input.dtype(), Device::meta));
  const Evaluation want = evaluate(op, real), got = evaluate(op, shapes);
  ASSERT_EQ(got.outputs.size(), want.outputs.size()) << op.name;
  for (std::size_t i = 0; i < want.outputs.size(); ++i) {
    EXPECT_EQ(got.outputs[i].device(), Device::meta) << op.name;
    EXPECT_EQ(got.outputs[i].describe(), want.outputs[i].describe()) << op.name;
  }
  for (std::size_t i = 0; i < want.gradients.size(); ++i) {
    ASSERT_EQ(got.gradients[i].defined(), want.gradients[i].defined()) << op.name;
    if (got.gradients[i].defined()) {
      EXPECT_EQ(got.gradients[i].describe(), want.gradients[i].describe()) << op.name;
    }
  }
}

inline void expect_same(const Evaluation& got, const Evaluation& want, const std::string& what) {
  ASSERT_EQ(got.outputs.size(), want.outputs.size()) << what;
  for (std::size_t i = 0; i < want.outputs.size(); ++i) {
    expect_bitwise_equal(got.outputs[i], want.outputs[i], what + ", output " + std::to_string(i));
  }
  for (std::size_t i = 0; i < want.gradients.size(); ++i) {
    expect_bitwise_equal(got.gradients[i], want.gradients[i], what + ", gradient " + std::to_string(i));
  }
}

/// The same bits for 1, 2, 3, 4 and 7 threads.
inline void check_threads(const OpCase& op, DType dtype) {
  struct Restore {
    int before = threads();
    ~Restore() { set_threads(before); }
  } restore;
  const auto inputs = inputs_as(op, dtype);
  set_threads(1);
  const Evaluation want = evaluate(op, inputs);
  for (const int count : {2, 3, 4, 7}) {
    set_threads(count);
    expect_same(evaluate(op, inputs), want, op.name + " with " + std::to_string(count) + " threads");
  }
}

/// Views of the inputs, padded or strided, give what contiguous inputs give.
inline void check_non_contiguous(const OpCase& op, DType dtype, bool last_stride_one = false) {
  const auto inputs = inputs_as(op, dtype);
  const Evaluation want = evaluate(op, inputs);
  std::vector<Tensor> padded, strided;
  for (const Tensor& input : inputs) {
    padded.push_back(padded_rows(input));
    strided.push_back(every_other(input));
  }
  expect_same(evaluate(op, padded), want, op.name + " of padded rows");
  if (!last_stride_one) expect_same(evaluate(op, strided), want, op.name + " of every other element");
}

/// A fused op against its composition, outputs and gradients.
inline void check_composed(const OpCase& fused, const Function& composed, DType dtype) {
  OpCase plain = fused;
  plain.run = composed;
  const auto inputs = inputs_as(fused, dtype);
  const Evaluation got = evaluate(fused, inputs), want = evaluate(plain, inputs);
  // Each side may be as far from the truth as the tolerance says.
  const Tolerance both{2 * fused.tolerance.roundings + 1, 2 * fused.tolerance.steps, fused.tolerance.floor};
  for (std::size_t i = 0; i < want.outputs.size(); ++i) {
    expect_close(got.outputs[i], want.outputs[i], dtype, both,
                 fused.name + " composed, output " + std::to_string(i));
  }
  for (std::size_t i = 0; i < want.gradients.size(); ++i) {
    ASSERT_TRUE(got.gradients[i].defined() && want.gradients[i].defined())
        << fused.name << ": gradient " << i;
    expect_close(got.gradients[i], want.gradients[i], dtype, both,
                 fused.name + " composed, gradient " + std::to_string(i));
  }
}

}  // namespace headway::testing
