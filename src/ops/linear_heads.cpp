#include <headway/ops/linear.h>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/kernels/gemm.h>
#include <headway/ops/views.h>

#include "ops/weight_cache.h"

namespace headway::inline v1 {
namespace {

void check(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases, bool sliced) {
  const auto heads = static_cast<std::int64_t>(weights.size());
  if (heads == 0) fail(ErrorCode::shape, "linear_heads", "weights are empty; want one matrix for each head");
  if (!biases.empty() && biases.size() != weights.size()) {
    fail(ErrorCode::shape, "linear_heads", fmt::format("{} biases for {} weights; want equal, or none", biases.size(), heads));
  }
  if (x.rank() < 2 || (sliced && x.size(-1) % heads != 0)) {
    fail(ErrorCode::shape, "linear_heads", fmt::format("x is {}; want [..., I]{}", x.describe(),
                                                       sliced ? fmt::format(" with I divisible by {} heads", heads) : ""));
  }
  const std::int64_t inputs = sliced ? x.size(-1) / heads : x.size(-1);
  const Shape wanted{weights[0].size(0), inputs};
  for (std::size_t h = 0; h < weights.size(); ++h) {
    const bool bias_fits = biases.empty() || biases[h].shape() == Shape{wanted[0]};
    if (!(weights[h].shape() == wanted) || !bias_fits) {
      fail(ErrorCode::shape, "linear_heads",
           fmt::format("head {} has weight {}{}; want {} as head 0 and x {} have it", h, weights[h].describe(),
                       biases.empty() ? "" : " and bias " + biases[h].describe(), wanted.str(), x.describe()));
    }
    const bool dtype_fits = weights[h].dtype() == x.dtype() ||
                            (x.dtype() == DType::bfloat16 && weights[h].dtype() == DType::float32);
    if (!dtype_fits) {
      fail(ErrorCode::dtype, "linear_heads",
           fmt::format("x is {}, the weight of head {} {}", name_of(x.dtype()), h, name_of(weights[h].dtype())));
    }
  }
}

// One head's product, over strided columns of its operands.
struct HeadProduct {
  DType dtype;
  std::int64_t rows, dim, inputs;     // N, D, columns of x that the head reads
  std::int64_t x_row, y_row;          // strides of x and y by rows
  std::int64_t x_column, y_column;    // where the head's columns begin

  const char* at(const Tensor& t, std::int64_t column) const {
    return static_cast<const char*>(t.raw()) + column * static_cast<std::int64_t>(size_of(dtype));
  }
  char* mutable_at(const Tensor& t, std::int64_t column) const { return const_cast<char*>(at(t, column)); }

  void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) const {
    if (dtype == DType::float64) {
      auto* out = y.data<double>() + y_column;
      kernels::reference::gemm(rows, dim, inputs, x.data<double>() + x_column, x_row, 1, weight.data<double>(),
                               weight.stride(1), weight.stride(0), out, y_row, false);
      for (std::int64_t i = 0; bias.defined() && i < rows * dim; ++i) out[i / dim * y_row + i % dim] += bias.data<double>()[i % dim];
      return;
    }
    kernels::gemm({.m = rows, .n = dim, .k = inputs, .dtype = dtype, .a = at(x, x_column), .a_row = x_row,
                   .b = ops::packed_weight(weight, dtype, false), .b_packed = true, .c = mutable_at(y, y_column), .c_row = y_row,
                   .c_dtype = dtype, .bias = bias.defined() ? bias.data<float>() : nullptr});
  }

  void weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& dw) const {
    if (dtype == DType::float64) {
      kernels::reference::gemm(dim, inputs, rows, dy.data<double>() + y_column, 1, y_row, x.data<double>() + x_column, x_row, 1,
                               dw.data<double>(), inputs, false);
      return;
    }
    kernels::gemm({.m = dim, .n = inputs, .k = rows, .dtype = dtype, .a = at(dy, y_column), .a_row = 1, .a_col = y_row,
                   .b = at(x, x_column), .b_row = x_row, .c = dw.raw(), .c_row = inputs, .c_dtype = DType::float32});
  }

  // Adds to dx: heads that read the same columns follow one another.
  void input_gradient(const Tensor& dy, const Tensor& weight, const Tensor& dx, bool add) const {
    if (dtype == DType::float64) {
      kernels::reference::gemm(rows, inputs, dim, dy.data<double>() + y_column, y_row, 1, weight.data<double>(),
                               weight.stride(0), weight.stride(1), dx.data<double>() + x_column, x_row, add);
      return;
    }
    kernels::gemm({.m = rows, .n = inputs, .k = dim, .dtype = dtype, .a = at(dy, y_column), .a_row = y_row,
                   .b = ops::packed_weight(weight, dtype, true), .b_packed = true,
                   .c = dx.dtype() == DType::float32 ? reinterpret_cast<char*>(dx.data<float>() + x_column) : mutable_at(dx, x_column),
                   .c_row = x_row, .c_dtype = dx.dtype(), .accumulate = add});
  }
};

// Column sums of dy [N, W], whose columns are the heads' one after another.
std::vector<double> column_sums_double(const Tensor& dy, std::int64_t width) {
  std::vector<double> out(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < dy.numel(); ++i) out[static_cast<std::size_t>(i % width)] += dy.data<double>()[i];
  return out;
}

void bias_gradients(const Tensor& dy, std::int64_t rows, std::int64_t width, std::int64_t dim, std::vector<Tensor>& out,
                    std::size_t first, const std::vector<bool>& wanted) {
  std::vector<float> sums;
  std::vector<double> wide;
  if (dy.dtype() == DType::float64) {
    wide = column_sums_double(dy, width);
  } else {
    sums.resize(static_cast<std::size_t>(width));
    kernels::bias_gradient(dy.dtype(), dy.raw(), nullptr, kernels::Epilogue::none, rows, width, nullptr, sums.data());
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

Tensor linear_heads(const Tensor& x_any, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases,
                    bool sliced_input) {
  check(x_any, weights, biases, sliced_input);
  const Tensor x = contiguous(x_any);
  const auto heads = static_cast<std::int64_t>(weights.size());
  const std::int64_t width = x.size(-1);
  const std::int64_t dim = weights[0].size(0);
  const std::int64_t inputs = weights[0].size(1);
  const std::int64_t rows = width == 0 ? 0 : x.numel() / width;
  Shape shape;
  for (int d = 0; d + 1 < x.rank(); ++d) shape.push_back(x.size(d));
  shape.push_back(heads);
  shape.push_back(dim);
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  const auto element = static_cast<double>(size_of(x.dtype()));
  for (std::int64_t h = 0; h < heads; ++h) {
    report_cost("linear", 2.0 * static_cast<double>(rows * dim) * static_cast<double>(inputs),
                element * static_cast<double>(rows * (inputs + dim)) +
                    static_cast<double>(size_of(weights[0].dtype())) * static_cast<double>(dim * inputs));
  }
  const auto product = [=, dtype = x.dtype()](std::int64_t h) {
    return HeadProduct{dtype, rows, dim, inputs, width, heads * dim, sliced_input ? h * inputs : 0, h * dim};
  };
  if (x.device() != Device::meta && y.numel() > 0) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto i = static_cast<std::size_t>(h);
      product(h).forward(x, weights[i], biases.empty() ? Tensor() : biases[i], y);
    }
  }

  std::vector<Tensor> recorded{x};
  recorded.insert(recorded.end(), weights.begin(), weights.end());
  recorded.insert(recorded.end(), biases.begin(), biases.end());
  if (!autograd::needs_grad(recorded)) return y;
  std::vector<bool> wanted;
  for (const Tensor& t : recorded) wanted.push_back(autograd::wants_grad(t));
  std::vector<autograd::Saved> saved_weights(weights.begin(), weights.end());
  autograd::record(
      "linear_heads", recorded, {y},
      [=, saved_x = autograd::Saved(x), count = recorded.size()](const std::vector<Tensor>& grads) -> std::vector<Tensor> {
        const Tensor& dy = grads[0];
        const Tensor& in = saved_x.get("linear_heads");
        std::vector<Tensor> out(count);
        const bool meta = dy.device() == Device::meta;
        // Heads add to the same columns of dX: a bfloat16 sum would round after each.
        const DType sum_dtype = in.dtype() == DType::bfloat16 && !sliced_input ? DType::float32 : in.dtype();
        Tensor dx = wanted[0] ? Tensor::empty(in.shape(), sum_dtype, dy.device()) : Tensor();
        for (std::int64_t h = 0; h < heads; ++h) {
          const auto i = static_cast<std::size_t>(h);
          const Tensor& weight = saved_weights[i].get("linear_heads");
          if (wanted[1 + i]) {
            out[1 + i] = rows == 0 ? zeros(weight.shape(), weight.dtype(), dy.device())
                                   : Tensor::empty(weight.shape(), weight.dtype(), dy.device());
            if (!meta && rows > 0) product(h).weight_gradient(dy, in, out[1 + i]);
          }
          if (wanted[0] && !meta) product(h).input_gradient(dy, weight, dx, h > 0 && !sliced_input);
        }
        if (wanted[0]) out[0] = cast(dx, in.dtype());
        const auto first = static_cast<std::size_t>(1 + heads);
        if (meta) {
          for (std::size_t i = first; i < count; ++i) out[i] = Tensor::empty({dim}, DType::float32, Device::meta);
        } else if (first < count) {
          bias_gradients(dy, rows, heads * dim, dim, out, first, wanted);
        }
        return out;
      });
  return y;
}

}  // namespace headway::inline v1
