#pragma once
#include <support/op_case.h>

namespace headway::testing {

/// Every gradient against central differences in float64. With D(h) = (f(x + h) - f(x - h)) / 2h, the
/// truncation error of D(h) is a third of D(2h) - D(h) up to higher orders, and rounding adds eps·Σ|terms of
/// f|/h: the tolerance is their sum with a margin of 4 each. h = cbrt(eps)·max(1, |x|) balances the two.
inline void gradcheck(const OpCase& op) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : op.inputs) {
    // Bytes of its own: elements are moved one at a time.
    Tensor copy = Tensor::empty(input.shape(), DType::float64);
    copy_into(copy, input);
    inputs.push_back(copy);
  }
  const Evaluation analytic = evaluate(op, inputs);
  const auto value = [&] {
    const NoGrad no_grad;
    return objective(op.run(inputs)).item<double>();
  };
  double magnitude = 0;
  for (std::size_t i = 0; i < analytic.outputs.size(); ++i) {
    if (!is_floating(analytic.outputs[i].dtype())) continue;
    const auto out = values_of(analytic.outputs[i]), weights = values_of(weights_for(analytic.outputs[i], i));
    for (std::size_t j = 0; j < out.size(); ++j) magnitude += std::abs(out[j] * weights[j]);
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(analytic.gradients[i].defined()) << op.name << ": input " << i << " got no gradient";
    const auto gradient = values_of(analytic.gradients[i]);
    double* x = inputs[i].data<double>();
    for (std::int64_t j = 0; j < inputs[i].numel(); ++j) {
      const double at = x[j];
      const double h = std::cbrt(0x1p-52) * std::max(1.0, std::abs(at));
      const auto slope = [&](double step) {
        x[j] = at + step;
        const double up = value();
        x[j] = at - step;
        const double down = value();
        x[j] = at;
        return (up - down) / (2 * step);
      };
      const double near = slope(h), far = slope(2 * h);
      const double got = gradient[static_cast<std::size_t>(j)];
      const double allowed = 4 * std::abs(far - near) / 3 + 4 * 0x1p-52 * (magnitude + std::abs(got)) / h;
      ASSERT_LE(std::abs(got - near), allowed) << op.name << ": gradient of input " << i << ", element " << j
                                               << " is " << got << ", differences say " << near;
    }
  }
}

}  // namespace headway::testing
