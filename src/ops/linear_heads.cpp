#include <headway/ops/linear.h>

#include <cstring>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/kernels/gemm.h>
#include <headway/kernels/row_gemm.h>
#include <headway/ops/views.h>

#include "ops/weight_cache.h"

namespace headway::inline v1 {
namespace {

void check(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases,
           bool sliced) {
  const auto heads = static_cast<std::int64_t>(weights.size());
  if (heads == 0) fail(ErrorCode::shape, "linear_heads", "weights are empty; want one matrix for each head");
  if (!biases.empty() && biases.size() != weights.size()) {
    fail(ErrorCode::shape, "linear_heads",
         fmt::format("{} biases for {} weights; want equal, or none", biases.size(), heads));
  }
  if (x.rank() < 2 || (sliced && x.size(-1) % heads != 0)) {
    fail(ErrorCode::shape, "linear_heads",
         fmt::format("x is {}; want [..., I]{}", x.describe(),
                     sliced ? fmt::format(" with I divisible by {} heads", heads) : ""));
  }
  const std::int64_t inputs = sliced ? x.size(-1) / heads : x.size(-1);
  const Shape wanted{weights[0].size(0), inputs};
  for (std::size_t h = 0; h < weights.size(); ++h) {
    const bool bias_fits = biases.empty() || biases[h].shape() == Shape{wanted[0]};
    if (!(weights[h].shape() == wanted) || !bias_fits) {
      fail(
          ErrorCode::shape, "linear_heads",
          fmt::format("head {} has weight {}{}; want {} as head 0 and x {} have it", h, weights[h].describe(),
                      biases.empty() ? "" : " and bias " + biases[h].describe(), wanted.str(), x.describe()));
    }
    const bool dtype_fits = weights[h].dtype() == x.dtype() ||
                            (x.dtype() == DType::bfloat16 && weights[h].dtype() == DType::float32);
    if (!dtype_fits) {
      fail(ErrorCode::dtype, "linear_heads",
           fmt::format("x is {}, the weight of head {} {}", name_of(x.dtype()), h,
                       name_of(weights[h].dtype())));
    }
  }
}

// Sizes of every head's product.
struct HeadShape {
  DType dtype;
  std::int64_t rows, dim, inputs;  // N, D, columns of x that a head reads
  std::int64_t x_width, heads;
};

char* at(const Tensor& t, std::int64_t element) {
  return static_cast<char*>(t.raw()) + element * static_cast<std::int64_t>(size_of(t.dtype()));
}

// Columns [h·width, (h+1)·width) of x [N, heads·width] -> dense [heads][N][width]. oneDNN's fast kernels take
// dense operands only.
Tensor by_heads(const Tensor& x, std::int64_t rows, std::int64_t heads, std::int64_t width) {
  const Tensor out = Tensor::empty({heads, rows, width}, x.dtype());
  const auto bytes = static_cast<std::size_t>(width) * size_of(x.dtype());
  core::parallel_for(heads, [&](std::int64_t h) {
    for (std::int64_t i = 0; i < rows; ++i)
      std::memcpy(at(out, (h * rows + i) * width), at(x, (i * heads + h) * width), bytes);
  });
  return out;
}

// Rows of x that each head's product reads: h·head elements from the first, `row` apart.
struct HeadInput {
  Tensor x;
  std::int64_t head, row;
};

// x as it is for products that take rows apart, which are those that nothing records; else dense.
HeadInput input_of(const HeadShape& s, const Tensor& x, bool sliced, bool recorded) {
  if (!sliced) return {x, 0, s.inputs};
  if (!recorded && s.dtype != DType::float64) return {x, s.inputs, s.x_width};
  return {by_heads(x, s.rows, s.heads, s.inputs), s.rows * s.inputs, s.inputs};
}

// y [H][N][D] dense, one product for each head.
void forward(const HeadShape& s, const HeadInput& input, const std::vector<Tensor>& weights,
             const std::vector<Tensor>& biases, bool recorded, const Tensor& y) {
  for (std::int64_t h = 0; h < s.heads; ++h) {
    const Tensor& weight = weights[static_cast<std::size_t>(h)];
    const Tensor bias = biases.empty() ? Tensor() : contiguous(biases[static_cast<std::size_t>(h)].detach());
    const char* in = at(input.x, h * input.head);
    char* out = at(y, h * s.rows * s.dim);
    if (s.dtype == DType::float64) {
      auto* wide = reinterpret_cast<double*>(out);
      kernels::reference::gemm(s.rows, s.dim, s.inputs, reinterpret_cast<const double*>(in), s.inputs, 1,
                               weight.data<double>(), weight.stride(1), weight.stride(0), wide, s.dim, false);
      for (std::int64_t i = 0; bias.defined() && i < s.rows * s.dim; ++i)
        wide[i] += bias.data<double>()[i % s.dim];
    } else if (!recorded) {
      const auto packed = ops::packed_rows(weight, s.dtype);
      kernels::row_gemm({.m = s.rows,
                         .n = s.dim,
                         .k = s.inputs,
                         .dtype = s.dtype,
                         .x = in,
                         .x_row = input.row,
                         .w = packed->as<void>(),
                         .y = out,
                         .y_row = s.dim,
                         .y_dtype = s.dtype,
                         .bias = bias.defined() ? bias.data<float>() : nullptr});
    } else {
      const auto packed = ops::packed_weight(weight, s.dtype, false);
      kernels::gemm({.m = s.rows,
                     .n = s.dim,
                     .k = s.inputs,
                     .dtype = s.dtype,
                     .a = in,
                     .a_row = input.row,
                     .b = packed->as<void>(),
                     .b_packed = true,
                     .c = out,
                     .c_row = s.dim,
                     .c_dtype = s.dtype,
                     .bias = bias.defined() ? bias.data<float>() : nullptr});
    }
  }
}

// dy [N, H, D], x [N, width].
void weight_gradient(const HeadShape& s, std::int64_t h, const Tensor& dy, const Tensor& x, bool sliced,
                     const Tensor& dw) {
  const std::int64_t column = sliced ? h * s.inputs : 0;
  if (s.dtype == DType::float64) {
    kernels::reference::gemm(s.dim, s.inputs, s.rows, dy.data<double>() + h * s.dim, 1, s.heads * s.dim,
                             x.data<double>() + column, s.x_width, 1, dw.data<double>(), s.inputs, false);
    return;
  }
  const kernels::WeightGradientArgs args{.tokens = s.rows,
                                         .outputs = s.dim,
                                         .inputs = s.inputs,
                                         .dtype = s.dtype,
                                         .dy = at(dy, h * s.dim),
                                         .dy_row = s.heads * s.dim,
                                         .x = at(x, column),
                                         .x_row = s.x_width,
                                         .dw = dw.data<float>()};
  const core::Workspace workspace(kernels::weight_gradient_workspace(args));
  kernels::weight_gradient(args, workspace.as<void>());
}

// dx = dy·W for one head, dy [N][D] dense; adds where heads share columns of x.
void input_gradient(const HeadShape& s, const char* dy, const Tensor& weight, char* dx, DType dx_dtype,
                    bool add) {
  if (s.dtype == DType::float64) {
    kernels::reference::gemm(s.rows, s.inputs, s.dim, reinterpret_cast<const double*>(dy), s.dim, 1,
                             weight.data<double>(), weight.stride(0), weight.stride(1),
                             reinterpret_cast<double*>(dx), s.inputs, add);
    return;
  }
  const auto packed = ops::packed_weight(weight, s.dtype, true);
  kernels::gemm({.m = s.rows,
                 .n = s.inputs,
                 .k = s.dim,
                 .dtype = s.dtype,
                 .a = dy,
                 .a_row = s.dim,
                 .b = packed->as<void>(),
                 .b_packed = true,
                 .c = dx,
                 .c_row = s.inputs,
                 .c_dtype = dx_dtype,
                 .accumulate = add});
}

// Gradient of x [N, width] from dy [N, H, D].
Tensor input_gradients(const HeadShape& s, const Tensor& dy, const std::vector<autograd::Saved>& weights,
                       bool sliced, const Shape& shape) {
  const Tensor parts = by_heads(dy, s.rows, s.heads, s.dim);
  // Heads add to the same columns: a bfloat16 sum would be rounded after each.
  const DType sum_dtype = s.dtype == DType::bfloat16 && !sliced ? DType::float32 : s.dtype;
  const Tensor dx = Tensor::empty(shape, sum_dtype);
  const Tensor apart = sliced ? Tensor::empty({s.heads, s.rows, s.inputs}, sum_dtype) : dx;
  for (std::int64_t h = 0; h < s.heads; ++h) {
    input_gradient(s, at(parts, h * s.rows * s.dim), weights[static_cast<std::size_t>(h)].get("linear_heads"),
                   at(apart, sliced ? h * s.rows * s.inputs : 0), sum_dtype, h > 0 && !sliced);
  }
  if (sliced) {
    const auto bytes = static_cast<std::size_t>(s.inputs) * size_of(sum_dtype);
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t i = 0; i < s.rows; ++i) {
        std::memcpy(at(dx, i * s.x_width + h * s.inputs), at(apart, (h * s.rows + i) * s.inputs), bytes);
      }
    }
  }
  return cast(dx, s.dtype);
}

// Column sums of dy [N, W], whose columns are the heads' one after another.
std::vector<double> column_sums_double(const Tensor& dy, std::int64_t width) {
  std::vector<double> out(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < dy.numel(); ++i)
    out[static_cast<std::size_t>(i % width)] += dy.data<double>()[i];
  return out;
}

void bias_gradients(const Tensor& dy, std::int64_t rows, std::int64_t width, std::int64_t dim,
                    std::vector<Tensor>& out, std::size_t first, const std::vector<bool>& wanted) {
  std::vector<float> sums;
  std::vector<double> wide;
  if (dy.dtype() == DType::float64) {
    wide = column_sums_double(dy, width);
  } else {
    sums.resize(static_cast<std::size_t>(width));
    kernels::bias_gradient(dy.dtype(), dy.raw(), nullptr, kernels::Epilogue::none, rows, width, nullptr,
                           sums.data());
  }
  for (std::size_t h = 0; first + h < out.size(); ++h) {
    if (!wanted[first + h]) continue;
    const auto begin = static_cast<std::ptrdiff_t>(h) * dim;
    if (dy.dtype() == DType::float64) {
      out[first + h] = from(std::vector<double>(wide.begin() + begin, wide.begin() + begin + dim), {dim});
    } else {
      out[first + h] = from(std::vector<float>(sums.begin() + begin, sums.begin() + begin + dim), {dim});
    }
  }
}

}  // namespace

Tensor linear_heads(const Tensor& x_any, const std::vector<Tensor>& weights,
                    const std::vector<Tensor>& biases, bool sliced_input) {
  check(x_any, weights, biases, sliced_input);
  const Tensor x = contiguous(x_any);
  const auto heads = static_cast<std::int64_t>(weights.size());
  const std::int64_t width = x.size(-1);
  const std::int64_t dim = weights[0].size(0);
  const std::int64_t inputs = weights[0].size(1);
  const std::int64_t rows = width == 0 ? 0 : x.numel() / width;
  const HeadShape sizes{x.dtype(), rows, dim, inputs, width, heads};
  // The heads' results lie one after another; the view puts them beside each other.
  const Tensor apart = Tensor::empty({heads, rows, dim}, x.dtype(), x.device());
  Shape shape;
  Strides strides;
  std::int64_t inner = rows;
  for (int d = 0; d + 1 < x.rank(); ++d) {
    inner = x.size(d) == 0 ? 0 : inner / x.size(d);
    shape.push_back(x.size(d));
    strides.push_back(inner * dim);
  }
  shape.push_back(heads);
  shape.push_back(dim);
  strides.push_back(rows * dim);
  strides.push_back(1);
  const Tensor y = apart.strided(shape, strides, 0);
  const auto element = static_cast<double>(size_of(x.dtype()));
  for (std::int64_t h = 0; h < heads; ++h) {
    report_cost("linear", 2.0 * static_cast<double>(rows * dim) * static_cast<double>(inputs),
                element * static_cast<double>(rows * (inputs + dim)) +
                    static_cast<double>(size_of(weights[0].dtype())) * static_cast<double>(dim * inputs));
  }
  std::vector<Tensor> recorded{x};
  recorded.insert(recorded.end(), weights.begin(), weights.end());
  recorded.insert(recorded.end(), biases.begin(), biases.end());
  const bool record = autograd::needs_grad(recorded);
  if (x.device() != Device::meta && y.numel() > 0) {
    const bool trained = record || autograd::checkpointing();
    forward(sizes, input_of(sizes, x, sliced_input, trained), weights, biases, trained, apart);
  }
  if (!record) return y;
  std::vector<bool> wanted;
  for (const Tensor& t : recorded) wanted.push_back(autograd::wants_grad(t));
  std::vector<autograd::Saved> saved_weights(weights.begin(), weights.end());
  autograd::record("linear_heads", recorded, {y},
                   [=, saved_x = autograd::Saved(x),
                    count = recorded.size()](const std::vector<Tensor>& grads) -> std::vector<Tensor> {
                     const Tensor& dy = grads[0];
                     const Tensor& in = saved_x.get("linear_heads");
                     std::vector<Tensor> out(count);
                     const bool meta = dy.device() == Device::meta;
                     for (std::int64_t h = 0; h < heads; ++h) {
                       const auto i = static_cast<std::size_t>(h);
                       const Tensor& weight = saved_weights[i].get("linear_heads");
                       if (!wanted[1 + i]) continue;
                       out[1 + i] = rows == 0 ? zeros(weight.shape(), weight.dtype(), dy.device())
                                              : Tensor::empty(weight.shape(), weight.dtype(), dy.device());
                       if (!meta && rows > 0) weight_gradient(sizes, h, dy, in, sliced_input, out[1 + i]);
                     }
                     if (wanted[0]) {
                       out[0] = meta ? Tensor::empty(in.shape(), in.dtype(), Device::meta)
                                     : input_gradients(sizes, dy, saved_weights, sliced_input, in.shape());
                     }
                     const auto first = static_cast<std::size_t>(1 + heads);
                     if (meta) {
                       for (std::size_t i = first; i < count; ++i)
                         out[i] = Tensor::empty({dim}, DType::float32, Device::meta);
                     } else if (first < count) {
                       bias_gradients(dy, rows, heads * dim, dim, out, first, wanted);
                     }
                     return out;
                   });
  return y;
}

}  // namespace headway::inline v1
