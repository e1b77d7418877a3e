#include <headway/ops/linear.h>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/kernels/accumulate.h>
#include <headway/kernels/gemm.h>
#include <headway/ops/views.h>

namespace headway::inline v1 {
namespace {

Shape leading(const Shape& shape) {
  Shape out;
  for (int i = 0; i < shape.rank() - 2; ++i) out.push_back(shape[i]);
  return out;
}

// Which matrix of x, whose leading dimensions broadcast to `batch`, belongs to matrix `index` of the result.
std::int64_t matrix_of(const Shape& x, const Shape& batch, std::int64_t index) {
  std::int64_t matrix = 0;
  std::int64_t step = 1;
  for (int d = batch.rank() - 1, own = x.rank() - 3; own >= 0; --d, --own) {
    const std::int64_t at = index % batch[d];
    index /= batch[d];
    if (x[own] != 1) matrix += at * step;
    step *= x[own];
  }
  return matrix;
}

struct Factor {
  Tensor tensor;  // contiguous
  bool transposed = false;
  std::int64_t rows() const { return tensor.size(transposed ? -1 : -2); }
  std::int64_t columns() const { return tensor.size(transposed ? -2 : -1); }
  std::int64_t row() const { return transposed ? 1 : tensor.size(-1); }
  std::int64_t column() const { return transposed ? tensor.size(-1) : 1; }
};

// out[matrix_of(out)] += a·b for every matrix of the broadcast batch, in order.
void multiply(const Factor& a, const Factor& b, const Tensor& out, const Shape& batch) {
  const std::int64_t m = a.rows();
  const std::int64_t k = a.columns();
  const std::int64_t n = b.columns();
  if (m * n == 0 || k == 0 || out.device() == Device::meta) return;
  const auto width = static_cast<std::int64_t>(size_of(out.dtype()));
  const auto at = [&](const Tensor& x, std::int64_t i, std::int64_t size) {
    return static_cast<char*>(x.raw()) + matrix_of(x.shape(), batch, i) * size * width;
  };
  for (std::int64_t i = 0; i < batch.numel(); ++i) {
    char* pa = at(a.tensor, i, m * k);
    char* pb = at(b.tensor, i, k * n);
    char* pc = at(out, i, m * n);
    if (out.dtype() == DType::float64) {
      kernels::reference::gemm(m, n, k, reinterpret_cast<double*>(pa), a.row(), a.column(),
                               reinterpret_cast<double*>(pb), b.row(), b.column(),
                               reinterpret_cast<double*>(pc), n, true);
    } else {
      kernels::gemm({.m = m,
                     .n = n,
                     .k = k,
                     .dtype = out.dtype(),
                     .a = pa,
                     .a_row = a.row(),
                     .a_col = a.column(),
                     .b = pb,
                     .b_row = b.row(),
                     .b_col = b.column(),
                     .c = pc,
                     .c_row = n,
                     .c_dtype = out.dtype(),
                     .accumulate = true});
    }
  }
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  if (a.rank() < 2 || b.rank() < 2 || a.size(-1) != b.size(-2)) {
    fail(ErrorCode::shape, "matmul",
         fmt::format("a is {}, b is {}; want [..., M, K] and [..., K, N]", a.describe(), b.describe()));
  }
  const bool known =
      a.dtype() == DType::float32 || a.dtype() == DType::bfloat16 || a.dtype() == DType::float64;
  if (!known || a.dtype() != b.dtype()) {
    fail(ErrorCode::dtype, "matmul",
         fmt::format("a is {}, b is {}; want both float32, bfloat16 or float64", name_of(a.dtype()),
                     name_of(b.dtype())));
  }
  const Shape batch = broadcast_shapes("matmul", leading(a.shape()), leading(b.shape()));
  Shape shape = batch;
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  const Tensor out = zeros(shape, a.dtype(), a.device());
  report_cost(
      "matmul", 2.0 * static_cast<double>(out.numel()) * static_cast<double>(a.size(-1)),
      static_cast<double>(a.numel() + b.numel() + out.numel()) * static_cast<double>(size_of(a.dtype())));
  const Tensor left = contiguous(a.detach());
  const Tensor right = contiguous(b.detach());
  multiply({left}, {right}, out, batch);
  if (!autograd::needs_grad({a, b})) return out;
  const bool wants_a = autograd::wants_grad(a);
  const bool wants_b = autograd::wants_grad(b);
  autograd::record("matmul", {a, b}, {out},
                   [=, saved_a = autograd::Saved(left), saved_b = autograd::Saved(right)](
                       const std::vector<Tensor>& grads) -> std::vector<Tensor> {
                     const Tensor& x = saved_a.get("matmul");
                     const Tensor& y = saved_b.get("matmul");
                     std::vector<Tensor> result(2);
                     if (wants_a) {
                       result[0] = zeros(x.shape(), x.dtype(), x.device());
                       multiply({grads[0]}, {y, true}, result[0], batch);
                     }
                     if (wants_b) {
                       result[1] = zeros(y.shape(), y.dtype(), y.device());
                       multiply({x, true}, {grads[0]}, result[1], batch);
                     }
                     return result;
                   });
  return out;
}

}  // namespace headway::inline v1
