#include <headway/ops/composed.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/softmax.h>
#include <headway/ops/views.h>
#include <ops/dispatch.h>

namespace headway::inline v1::composed {
namespace {

// Mean over the last dimension, kept as a dimension of 1. Its transpose spreads the gradient evenly.
Tensor mean_last(const Tensor& x) {
  Shape shape = x.shape();
  shape[-1] = 1;
  const double inverse = 1 / static_cast<double>(x.size(-1));
  Tensor out = scale(detail::sum_to(detail::plain(x), shape), inverse);
  if (autograd::needs_grad({x})) {
    autograd::record("mean_last", {x}, {out},
                     [before = x.shape(), inverse](const std::vector<Tensor>& grads) {
                       return std::vector<Tensor>{
                           add(zeros(before, grads[0].dtype(), grads[0].device()), scale(grads[0], inverse))};
                     });
  }
  return out;
}

Tensor constant_like(const Tensor& x, double value) { return full({}, value, x.dtype(), x.device()); }

// Dropout and residual in x's dtype, the rest in the statistics' dtype.
NormResult normalize(bool center, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const NormOptions& options) {
  Tensor s = options.dropout > 0 ? dropout(x, options.dropout, *options.generator) : x;
  if (options.residual.defined()) s = add(options.residual, s);
  const Tensor wide = cast(s, detail::compute_dtype(x.dtype()));
  const Tensor centered = center ? add(wide, scale(mean_last(wide), -1)) : wide;
  const Tensor variance = mean_last(mul(centered, centered));
  const Tensor hat = mul(centered, rsqrt(add(variance, constant_like(variance, options.eps))));
  const Tensor out = mul(hat, weight);
  return {cast(bias.defined() ? add(out, bias) : out, x.dtype()), s};
}

}  // namespace

NormResult layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormOptions& options) {
  return normalize(true, x, weight, bias, options);
}

NormResult rms_norm(const Tensor& x, const Tensor& weight, const NormOptions& options) {
  return normalize(false, x, weight, {}, options);
}

// -Σ q·log p with q the smoothed one-hot distribution of each target, as a constant array.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  const Tensor wide = cast(logits, detail::compute_dtype(logits.dtype()));
  const std::int64_t rows = logits.size(0), classes = logits.size(1);
  const Device device = detail::device_of({logits, targets});
  Tensor wanted = zeros({rows, classes}, DType::float64, device);
  double counted = 0;
  if (device != Device::meta) {
    const auto values = targets.to_vector<std::int32_t>();
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int32_t target = values[static_cast<std::size_t>(i)];
      if (target == options.ignore_index) continue;
      counted += 1;
      double* row = wanted.data<double>() + i * classes;
      for (std::int64_t j = 0; j < classes; ++j)
        row[j] = options.label_smoothing / static_cast<double>(classes);
      row[target] += 1 - options.label_smoothing;
    }
  }
  const double divisor = options.divisor > 0 ? options.divisor : counted;
  return scale(sum(mul(log_softmax(wide), cast(wanted, wide.dtype()))), divisor > 0 ? -1 / divisor : 0);
}

Tensor embedding(const Tensor& ids, const Tensor& table, const EmbeddingOptions& options) {
  const auto rows = [&](const Tensor& from, const Tensor& index) {
    Shape shape = ids.shape();
    shape.push_back(from.size(1));
    return reshape(gather(from, reshape(index, {index.numel()})), shape);
  };
  Tensor out = scale(rows(table, ids), options.scale);
  if (options.positions.defined()) out = add(out, rows(options.positions, options.position_ids));
  return table.dtype() == DType::float64 ? out : cast(out, options.output);
}

}  // namespace headway::inline v1::composed
