#include <headway/ops/softmax.h>

#include <headway/autograd/tape.h>
#include <headway/kernels/softmax.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {

Tensor apply(const char* operation, bool log, const Tensor& x) {
  detail::require_floating(operation, x);
  const auto [rows, dim] = detail::rows_of(operation, x);
  const Tensor input = detail::plain(x);
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (x.device() != Device::meta) {
    detail::with_floating(operation, x, [&, r = rows, d = dim]<typename T>() {
      kernels::softmax(log, r, d, input.data<T>(), out.data<T>());
    });
  }
  if (autograd::needs_grad({x})) {
    autograd::record(operation, {x}, {out},
                     [=, r = rows, d = dim, kept = autograd::Saved(out)](const std::vector<Tensor>& grads) {
                       const Tensor& y = kept.get(operation);
                       Tensor dx = Tensor::empty(y.shape(), y.dtype(), y.device());
                       if (y.device() != Device::meta) {
                         detail::with_floating(operation, y, [&]<typename T>() {
                           kernels::softmax_backward(log, r, d, y.data<T>(), grads[0].data<T>(),
                                                     dx.data<T>());
                         });
                       }
                       return std::vector<Tensor>{dx};
                     });
  }
  return out;
}

}  // namespace

Tensor softmax(const Tensor& x) { return apply("softmax", false, x); }
Tensor log_softmax(const Tensor& x) { return apply("log_softmax", true, x); }

TopK top_k(const Tensor& x, std::int64_t k) {
  detail::require_floating("top_k", x);
  const auto [rows, dim] = detail::rows_of("top_k", x);
  if (k < 0 || k > dim)
    fail(ErrorCode::value, "top_k",
         fmt::format("k is {}; want 0 to {}, the last dimension of {}", k, dim, x.describe()));
  Shape shape = x.shape();
  shape[-1] = k;
  TopK result{Tensor::empty(shape, x.dtype(), x.device()), Tensor::empty(shape, DType::int32, x.device())};
  if (x.device() == Device::meta) return result;
  const Tensor input = detail::plain(x);
  detail::with_floating("top_k", x, [&, r = rows, d = dim]<typename T>() {
    kernels::top_k(r, d, k, input.data<T>(), result.values.data<T>(), result.indices.data<std::int32_t>());
  });
  return result;
}

}  // namespace headway::inline v1
