#include <headway/ops/linear.h>

#include <optional>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/kernels/gemm.h>
#include <headway/kernels/row_gemm.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "ops/weight_cache.h"

namespace headway::inline v1 {
namespace {

kernels::Epilogue epilogue_of(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return kernels::Epilogue::relu;
    case Activation::gelu:
      return kernels::Epilogue::gelu;
    case Activation::gelu_tanh:
      return kernels::Epilogue::gelu_tanh;
    case Activation::silu:
      return kernels::Epilogue::silu;
    case Activation::none:
      break;
  }
  return kernels::Epilogue::none;
}

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return relu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::silu:
      return silu(x);
    case Activation::none:
      break;
  }
  return x;
}

bool is_stored(DType dtype) {
  return dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16;
}

void check(const Tensor& x, const Tensor& weight, const Tensor& bias, const LinearOptions& options,
           bool recorded) {
  if (weight.rank() != 2) {
    fail(ErrorCode::shape, "linear", fmt::format("weight is {}; want [outputs, inputs]", weight.describe()));
  }
  if (x.rank() < 1 || x.size(-1) != weight.size(1)) {
    fail(ErrorCode::shape, "linear",
         fmt::format("x is {}, weight is {}; want {} in the last dimension of x", x.describe(),
                     weight.describe(), weight.size(1)));
  }
  if (bias.defined() && !(bias.shape() == Shape{weight.size(0)})) {
    fail(ErrorCode::shape, "linear", fmt::format("bias is {}; want [{}]", bias.describe(), weight.size(0)));
  }
  const bool known =
      x.dtype() == DType::float32 || x.dtype() == DType::bfloat16 || x.dtype() == DType::float64;
  // Parameters that are only read may be stored in any of three dtypes.
  const auto fits = [&](DType dtype, DType same) {
    return dtype == same || (x.dtype() == DType::bfloat16 && dtype == DType::float32) ||
           (!recorded && x.dtype() != DType::float64 && is_stored(dtype));
  };
  if (!known || !fits(weight.dtype(), x.dtype()) || (bias.defined() && !fits(bias.dtype(), weight.dtype()))) {
    fail(ErrorCode::dtype, "linear",
         fmt::format(
             "x is {}, weight {}, bias {}; want float32, float64, or bfloat16 with float32 parameters (or, "
             "where nothing is recorded, float32, bfloat16 or float16 ones)",
             name_of(x.dtype()), name_of(weight.dtype()), bias.defined() ? name_of(bias.dtype()) : "none"));
  }
  if (options.widen && x.dtype() != DType::bfloat16) {
    fail(ErrorCode::dtype, "linear", fmt::format("widen is for bfloat16 x; x is {}", name_of(x.dtype())));
  }
}

// x as rows of one stride.
struct RowView {
  Tensor tensor;
  std::int64_t rows, stride;
};

// Rows may lie `apart`, or else follow one another: they would send oneDNN down its slow path, beside which
// the copy is little.
RowView rows_of(const Tensor& x, bool apart) {
  const std::int64_t width = x.size(-1);
  const std::int64_t rows = width == 0 ? 0 : x.numel() / width;
  bool uniform = x.stride(-1) == 1 || width == 1;
  std::int64_t stride = width, count = 1;  // of the dimensions seen so far
  for (int d = x.rank() - 2; d >= 0 && uniform; --d) {
    if (x.size(d) == 1) continue;  // its stride says nothing
    if (count == 1) stride = x.stride(d);
    uniform = x.stride(d) == stride * count;
    count *= x.size(d);
  }
  if (uniform && (stride == width || apart)) return {x, rows, stride};
  return {contiguous(x.detach()), rows, width};
}

// What is recorded goes through oneDNN, whose rows depend a little on their number, the rest through products
// whose rows do not.
void forward(const RowView& x, const Tensor& weight, const Tensor& bias, Activation activation, bool recorded,
             const Tensor& y) {
  const std::int64_t outputs = weight.size(0);
  const std::int64_t inputs = weight.size(1);
  if (x.tensor.dtype() == DType::float64) {
    auto* out = y.data<double>();
    kernels::reference::gemm(x.rows, outputs, inputs, x.tensor.data<double>(), x.stride, 1,
                             weight.data<double>(), weight.stride(1), weight.stride(0), out, outputs, false);
    for (std::int64_t i = 0; bias.defined() && i < x.rows * outputs; ++i)
      out[i] += bias.data<double>()[i % outputs];
    return;
  }
  if (!recorded) {
    const auto packed = ops::packed_rows(weight, x.tensor.dtype());
    const Tensor wide = bias.defined() ? cast(bias.detach(), DType::float32) : bias;
    return kernels::row_gemm({.m = x.rows,
                              .n = outputs,
                              .k = inputs,
                              .dtype = x.tensor.dtype(),
                              .x = x.tensor.raw(),
                              .x_row = x.stride,
                              .w = packed->as<void>(),
                              .y = y.raw(),
                              .y_row = outputs,
                              .y_dtype = y.dtype(),
                              .bias = wide.defined() ? wide.data<float>() : nullptr,
                              .epilogue = epilogue_of(activation)});
  }
  const auto packed = ops::packed_weight(weight, x.tensor.dtype(), false);
  kernels::gemm({.m = x.rows,
                 .n = outputs,
                 .k = inputs,
                 .dtype = x.tensor.dtype(),
                 .a = x.tensor.raw(),
                 .a_row = x.stride,
                 .a_col = 1,
                 .b = packed->as<void>(),
                 .b_packed = true,
                 .c = y.raw(),
                 .c_row = outputs,
                 .c_dtype = y.dtype(),
                 .bias = bias.defined() ? bias.data<float>() : nullptr,
                 .epilogue = epilogue_of(activation)});
}

// dX = dZ·W.
Tensor input_gradient(const Tensor& dz, const Tensor& weight, const Shape& shape, DType dtype) {
  Tensor dx = Tensor::empty(shape, dtype, dz.device());
  if (dz.device() == Device::meta) return dx;
  const std::int64_t outputs = weight.size(0);
  const std::int64_t inputs = weight.size(1);
  const std::int64_t rows = dz.numel() / outputs;
  if (dtype == DType::float64) {
    kernels::reference::gemm(rows, inputs, outputs, dz.data<double>(), outputs, 1, weight.data<double>(),
                             weight.stride(0), weight.stride(1), dx.data<double>(), inputs, false);
  } else {
    const auto packed = ops::packed_weight(weight, dtype, true);
    kernels::gemm({.m = rows,
                   .n = inputs,
                   .k = outputs,
                   .dtype = dtype,
                   .a = dz.raw(),
                   .a_row = outputs,
                   .a_col = 1,
                   .b = packed->as<void>(),
                   .b_packed = true,
                   .c = dx.raw(),
                   .c_row = inputs,
                   .c_dtype = dtype});
  }
  return dx;
}

// dW = dZᵀ·X.
Tensor weight_gradient(const Tensor& dz, const RowView& x, const Tensor& weight) {
  Tensor dw = Tensor::empty(weight.shape(), weight.dtype(), dz.device());
  if (dz.device() == Device::meta) return dw;
  const std::int64_t outputs = weight.size(0);
  const std::int64_t inputs = weight.size(1);
  if (x.rows == 0) return zeros(weight.shape(), weight.dtype());
  if (dz.dtype() == DType::float64) {
    kernels::reference::gemm(outputs, inputs, x.rows, dz.data<double>(), 1, outputs, x.tensor.data<double>(),
                             x.stride, 1, dw.data<double>(), inputs, false);
  } else {
    const kernels::WeightGradientArgs args{.tokens = x.rows,
                                           .outputs = outputs,
                                           .inputs = inputs,
                                           .dtype = dz.dtype(),
                                           .dy = dz.raw(),
                                           .dy_row = outputs,
                                           .x = x.tensor.raw(),
                                           .x_row = x.stride,
                                           .dw = dw.data<float>()};
    const core::Workspace workspace(kernels::weight_gradient_workspace(args));
    kernels::weight_gradient(args, workspace.as<void>());
  }
  return dw;
}

// dZ (through the activation) and db.
struct BiasGradient {
  Tensor dz, db;
};
BiasGradient bias_gradient(const Tensor& dy, const Tensor& y, bool relu, const Tensor& bias,
                           bool wants_bias) {
  BiasGradient out;
  const std::int64_t outputs = dy.size(-1);
  const std::int64_t rows = outputs == 0 ? 0 : dy.numel() / outputs;
  out.dz = relu ? Tensor::empty(dy.shape(), dy.dtype(), dy.device()) : dy;
  if (wants_bias) out.db = zeros({outputs}, bias.dtype(), dy.device());
  if (dy.device() == Device::meta || (!relu && !wants_bias)) return out;
  if (dy.dtype() == DType::float64) {
    for (std::int64_t i = 0; i < dy.numel(); ++i) {
      const double value = relu && y.data<double>()[i] <= 0 ? 0 : dy.data<double>()[i];
      if (relu) out.dz.data<double>()[i] = value;
      if (wants_bias) out.db.data<double>()[i % outputs] += value;
    }
    return out;
  }
  kernels::bias_gradient(dy.dtype(), dy.raw(), relu ? y.raw() : nullptr,
                         relu ? kernels::Epilogue::relu : kernels::Epilogue::none, rows, outputs,
                         relu ? out.dz.raw() : nullptr, wants_bias ? out.db.data<float>() : nullptr);
  return out;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias_any, LinearOptions options) {
  const bool record = autograd::needs_grad({x, weight, bias_any});
  const bool recorded = record || autograd::checkpointing();
  check(x, weight, bias_any, options, recorded);
  const Tensor bias = bias_any.defined() ? contiguous(bias_any) : bias_any;
  const bool wide = options.widen;
  // relu's derivative is told by its output; the others need their input, so in training they are ops of
  // their own.
  const bool fused = options.activation == Activation::none ||
                     (x.dtype() != DType::float64 && (!record || options.activation == Activation::relu) &&
                      x.device() != Device::meta);
  if (!fused) return activate(linear(x, weight, bias, {.widen = wide}), options.activation);

  Shape shape = x.shape();
  shape[-1] = weight.size(0);
  const Tensor y = Tensor::empty(shape, wide ? DType::float32 : x.dtype(), x.device());
  const double rows =
      static_cast<double>(y.numel()) / static_cast<double>(std::max<std::int64_t>(weight.size(0), 1));
  report_cost("linear", 2 * rows * static_cast<double>(weight.numel()),
              static_cast<double>(x.numel()) * static_cast<double>(size_of(x.dtype())) +
                  static_cast<double>(y.numel()) * static_cast<double>(size_of(y.dtype())) +
                  static_cast<double>(weight.numel()) * static_cast<double>(size_of(weight.dtype())));
  RowView view = rows_of(x, !recorded && x.dtype() != DType::float64);
  if (y.device() != Device::meta && weight.size(1) == 0) {
    fail(ErrorCode::shape, "linear", "weight has no input columns; want at least 1");
  }
  if (y.device() != Device::meta && y.numel() > 0)
    forward(view, weight, bias, options.activation, recorded, y);
  if (!record) return y;

  const bool relu = options.activation == Activation::relu;
  const bool wants_x = autograd::wants_grad(x);
  const bool wants_weight = autograd::wants_grad(weight);
  const bool wants_bias = autograd::wants_grad(bias);
  autograd::record("linear", {x, weight, bias}, {y},
                   [=, rows_x = view, saved_x = autograd::Saved(wants_weight ? view.tensor : Tensor()),
                    saved_w = autograd::Saved(weight), saved_y = autograd::Saved(relu ? y : Tensor()),
                    shape_x = x.shape(), dtype = x.dtype(), bias = bias.defined() ? bias.detach() : Tensor()](
                       const std::vector<Tensor>& grads) mutable -> std::vector<Tensor> {
                     if (!grads[0].defined()) return {};
                     const Tensor dy = wide ? cast(grads[0], dtype) : grads[0];
                     const Tensor& w = saved_w.get("linear");
                     const auto [dz, db] = bias_gradient(dy, saved_y.get("linear"), relu, bias, wants_bias);
                     std::vector<Tensor> out(3);
                     if (wants_x) out[0] = input_gradient(dz, w, shape_x, dtype);
                     if (wants_weight) {
                       out[1] = weight_gradient(dz, {saved_x.get("linear"), rows_x.rows, rows_x.stride}, w);
                     }
                     out[2] = db;
                     return out;
                   });
  return y;
}

}  // namespace headway::inline v1
