#include <headway/ops/norm.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/kernels/norm.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {

void check(const char* operation, const Tensor& x, const Tensor& weight, const Tensor& bias,
           const NormOptions& options) {
  detail::require_floating(operation, x);
  const std::int64_t dim = detail::rows_of(operation, x).dim;
  const auto parameter = [&](const char* name, const Tensor& tensor) {
    if (tensor.rank() == 1 && tensor.size(0) == dim && tensor.dtype() == detail::compute_dtype(x.dtype()))
      return;
    fail(ErrorCode::shape, operation,
         fmt::format("{} is {}; want {} [{}] for x {}", name, tensor.describe(),
                     name_of(detail::compute_dtype(x.dtype())), dim, x.describe()));
  };
  parameter("weight", weight);
  if (bias.defined()) parameter("bias", bias);
  const Tensor& residual = options.residual;
  if (residual.defined() && (!(residual.shape() == x.shape()) || residual.dtype() != x.dtype())) {
    fail(ErrorCode::shape, operation,
         fmt::format("residual is {}; want x's {}", residual.describe(), x.describe()));
  }
  if (!(options.dropout >= 0 && options.dropout < 1)) {
    fail(ErrorCode::value, operation, fmt::format("dropout is {}; want 0 <= dropout < 1", options.dropout));
  }
  if (options.dropout > 0 && !options.generator) {
    fail(ErrorCode::value, operation,
         fmt::format("dropout is {} without a generator; want one", options.dropout));
  }
}

// What the backward pass keeps; undefined where it is not needed.
struct Kept {
  autograd::Saved s, weight, mean, rstd;
  kernels::Dropout dropout;
  bool x = false, residual = false, weight_wanted = false, bias_wanted = false;
};

std::vector<Tensor> backward(const char* operation, const Kept& kept, const std::vector<Tensor>& grads) {
  const Tensor &d_output = grads[0], d_sum = grads.size() > 1 ? grads[1] : Tensor();
  const Tensor& s = kept.s.get(operation);
  const auto [rows, dim] = detail::rows_of(operation, s);
  const bool meta = s.device() == Device::meta;
  const DType compute = detail::compute_dtype(s.dtype());
  Tensor d_s, d_x, d_weight, d_bias;
  const bool drop = kept.dropout.active();
  if (kept.weight_wanted && d_output.defined()) d_weight = Tensor::empty({dim}, compute, s.device());
  if (kept.bias_wanted && d_output.defined()) d_bias = Tensor::empty({dim}, compute, s.device());
  if (!d_output.defined()) {
    d_s = d_sum;
    if (drop && kept.x) {
      d_x = Tensor::empty(s.shape(), s.dtype(), s.device());
      if (!meta) {
        detail::with_floating(operation, s, [&]<typename T>() {
          kernels::dropout(kept.dropout, d_sum.data<T>(), d_x.data<T>(), s.numel());
        });
      }
    }
  } else {
    // Without dropout x and the residual share one gradient.
    if (kept.residual || (kept.x && !drop)) d_s = Tensor::empty(s.shape(), s.dtype(), s.device());
    if (kept.x && drop) d_x = Tensor::empty(s.shape(), s.dtype(), s.device());
    if (!meta) {
      detail::with_floating(operation, s, [&]<typename T>() {
        using C = kernels::compute_t<T>;
        const core::Workspace partials(static_cast<std::size_t>(2 * kernels::norm_blocks(rows) * dim) *
                                       sizeof(C));
        const Tensor &mean = kept.mean.get(operation), &rstd = kept.rstd.get(operation);
        kernels::norm_backward<T>({.rows = rows,
                                   .dim = dim,
                                   .s = s.data<T>(),
                                   .mean = mean.defined() ? mean.data<C>() : nullptr,
                                   .rstd = rstd.data<C>(),
                                   .weight = kept.weight.get(operation).data<C>(),
                                   .d_output = d_output.data<T>(),
                                   .d_sum = d_sum.defined() ? d_sum.data<T>() : nullptr,
                                   .dropout = kept.dropout,
                                   .d_s = d_s.defined() ? d_s.data<T>() : nullptr,
                                   .d_x = d_x.defined() ? d_x.data<T>() : nullptr,
                                   .d_weight = d_weight.defined() ? d_weight.data<C>() : nullptr,
                                   .d_bias = d_bias.defined() ? d_bias.data<C>() : nullptr,
                                   .partials = partials.as<C>()});
      });
    }
  }
  if (!drop && kept.x) d_x = d_s;
  return {d_x, kept.residual ? d_s : Tensor(), d_weight, d_bias};
}

NormResult normalize(const char* operation, bool rms, const Tensor& x, const Tensor& weight,
                     const Tensor& bias, const NormOptions& options) {
  check(operation, x, weight, bias, options);
  const auto [rows, dim] = detail::rows_of(operation, x);
  const Device device = detail::device_of({x, weight, options.residual});
  const DType compute = detail::compute_dtype(x.dtype());
  const auto dropout = options.dropout > 0 ? kernels::Dropout::of(options.dropout, options.generator->next())
                                           : kernels::Dropout();
  const bool fused = options.residual.defined() || dropout.active();
  const Tensor input = detail::plain(x);
  const Tensor residual = options.residual.defined() ? detail::plain(options.residual) : Tensor();
  const Tensor w = detail::plain(weight), b = bias.defined() ? detail::plain(bias) : Tensor();
  NormResult result{Tensor::empty(x.shape(), x.dtype(), device),
                    fused ? Tensor::empty(x.shape(), x.dtype(), device) : x};
  const Tensor mean = rms ? Tensor() : Tensor::empty({rows}, compute, device);
  const Tensor rstd = Tensor::empty({rows}, compute, device);
  if (device != Device::meta) {
    detail::with_floating(operation, x, [&]<typename T>() {
      using C = kernels::compute_t<T>;
      kernels::norm_forward<T>({.rows = rows,
                                .dim = dim,
                                .x = input.data<T>(),
                                .residual = residual.defined() ? residual.data<T>() : nullptr,
                                .weight = w.data<C>(),
                                .bias = b.defined() ? b.data<C>() : nullptr,
                                .eps = options.eps,
                                .rms = rms,
                                .dropout = dropout,
                                .sum = fused ? result.sum.data<T>() : nullptr,
                                .output = result.output.data<T>(),
                                .mean = mean.defined() ? mean.data<C>() : nullptr,
                                .rstd = rstd.data<C>()});
    });
  }
  if (autograd::needs_grad({x, options.residual, weight, bias})) {
    const Kept kept{.s = fused ? result.sum : input,
                    .weight = w,
                    .mean = mean,
                    .rstd = rstd,
                    .dropout = dropout,
                    .x = autograd::wants_grad(x),
                    .residual = autograd::wants_grad(options.residual),
                    .weight_wanted = autograd::wants_grad(weight),
                    .bias_wanted = autograd::wants_grad(bias)};
    // Without residual and dropout `sum` is x itself, and what flows into it is x's own business.
    std::vector<Tensor> outputs{result.output};
    if (fused) outputs.push_back(result.sum);
    autograd::record(operation, {x, options.residual, weight, bias}, outputs,
                     [=](const std::vector<Tensor>& grads) { return backward(operation, kept, grads); });
  }
  return result;
}

}  // namespace

NormResult layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormOptions& options) {
  return normalize("layer_norm", false, x, weight, bias, options);
}

NormResult rms_norm(const Tensor& x, const Tensor& weight, const NormOptions& options) {
  return normalize("rms_norm", true, x, weight, {}, options);
}

}  // namespace headway::inline v1
