#include <headway/ops/pointwise.h>

#include <algorithm>

#include <headway/autograd/tape.h>
#include <headway/kernels/dropout.h>
#include <headway/kernels/pointwise.h>
#include <headway/kernels/precision.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {

using kernels::Binary;
using kernels::Unary;

Tensor apply_unary(const char* operation, Unary function, const Tensor& x) {
  detail::require_floating(operation, x);
  const Tensor input = detail::plain(x);
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (x.device() != Device::meta) {
    detail::with_floating(operation, x, [&]<typename T>() {
      kernels::unary(function, input.data<T>(), out.data<T>(), out.numel());
    });
  }
  if (autograd::needs_grad({x})) {
    const autograd::Saved kept = function == Unary::relu ? out : input;
    autograd::record(operation, {x}, {out}, [=](const std::vector<Tensor>& grads) {
      const Tensor& saved = kept.get(operation);
      Tensor dx = Tensor::empty(saved.shape(), saved.dtype(), saved.device());
      if (saved.device() != Device::meta) {
        detail::with_floating(operation, saved, [&]<typename T>() {
          kernels::unary_backward(function, saved.data<T>(), grads[0].data<T>(), dx.data<T>(), dx.numel());
        });
      }
      return std::vector<Tensor>{dx};
    });
  }
  return out;
}

// x's strides in the coordinates of `shape`: 0 where it is broadcast.
Strides broadcast_strides(const Tensor& x, const Shape& shape) {
  Strides strides = shape;
  for (int i = 0; i < shape.rank(); ++i) {
    const int own = i - (shape.rank() - x.rank());
    strides[i] = own < 0 || x.size(own) == 1 ? 0 : x.stride(own);
  }
  return strides;
}

Tensor compute_binary(const char* name, Binary operation, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype()) {
    fail(ErrorCode::dtype, name,
         fmt::format("a is {}, b is {}; want one dtype (cast one)", a.describe(), b.describe()));
  }
  detail::require_floating(name, a);
  const Shape shape = broadcast_shapes(name, a.shape(), b.shape());
  Tensor out = Tensor::empty(shape, a.dtype(), detail::device_of({a, b}));
  if (out.device() == Device::meta) return out;
  // The kernel reads rows: other layouts become contiguous first.
  const auto by_rows = [](const Tensor& x) {
    return x.rank() == 0 || x.stride(-1) == 1 ? x : detail::plain(x);
  };
  const Tensor left = by_rows(a), right = by_rows(b);
  detail::with_floating(name, a, [&]<typename T>() {
    kernels::binary(operation, shape, left.data<T>(), broadcast_strides(left, shape), right.data<T>(),
                    broadcast_strides(right, shape), out.data<T>());
  });
  return out;
}

}  // namespace

namespace detail {
Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Tensor out = Tensor::empty(shape, x.dtype(), x.device());
  if (x.device() == Device::meta) return out;
  Shape kept = x.shape();
  for (int i = 0; i < x.rank(); ++i) {
    const int own = i - (x.rank() - shape.rank());
    kept[i] = own < 0 ? 1 : shape[own];
  }
  with_floating("sum_to", x,
                [&]<typename T>() { kernels::sum_to(x.shape(), x.data<T>(), kept, out.data<T>()); });
  return out;
}
}  // namespace detail

Tensor relu(const Tensor& x) { return apply_unary("relu", Unary::relu, x); }
Tensor gelu(const Tensor& x) { return apply_unary("gelu", Unary::gelu, x); }
Tensor gelu_tanh(const Tensor& x) { return apply_unary("gelu_tanh", Unary::gelu_tanh, x); }
Tensor silu(const Tensor& x) { return apply_unary("silu", Unary::silu, x); }
Tensor tanh(const Tensor& x) { return apply_unary("tanh", Unary::tanh, x); }
Tensor rsqrt(const Tensor& x) { return apply_unary("rsqrt", Unary::rsqrt, x); }

Tensor add(const Tensor& a, const Tensor& b) {
  Tensor out = compute_binary("add", Binary::add, a, b);
  if (autograd::needs_grad({a, b})) {
    const bool want_a = autograd::wants_grad(a), want_b = autograd::wants_grad(b);
    autograd::record("add", {a, b}, {out},
                     [=, a_shape = a.shape(), b_shape = b.shape()](const std::vector<Tensor>& grads) {
                       return std::vector<Tensor>{want_a ? detail::sum_to(grads[0], a_shape) : Tensor(),
                                                  want_b ? detail::sum_to(grads[0], b_shape) : Tensor()};
                     });
  }
  return out;
}

Tensor mul(const Tensor& a, const Tensor& b) {
  Tensor out = compute_binary("mul", Binary::mul, a, b);
  if (autograd::needs_grad({a, b})) {
    const bool want_a = autograd::wants_grad(a), want_b = autograd::wants_grad(b);
    const autograd::Saved kept_a = want_b ? a : Tensor(), kept_b = want_a ? b : Tensor();
    autograd::record("mul", {a, b}, {out},
                     [=, a_shape = a.shape(), b_shape = b.shape()](const std::vector<Tensor>& grads) {
                       std::vector<Tensor> back(2);
                       if (want_a) {
                         back[0] = detail::sum_to(
                             compute_binary("mul", Binary::mul, grads[0], kept_b.get("mul")), a_shape);
                       }
                       if (want_b) {
                         back[1] = detail::sum_to(
                             compute_binary("mul", Binary::mul, grads[0], kept_a.get("mul")), b_shape);
                       }
                       return back;
                     });
  }
  return out;
}

Tensor scale(const Tensor& x, double factor) {
  const auto scaled = [factor](const Tensor& source) {
    detail::require_floating("scale", source);
    const Tensor input = detail::plain(source);
    Tensor out = Tensor::empty(input.shape(), input.dtype(), input.device());
    if (input.device() == Device::meta) return out;
    detail::with_floating("scale", input, [&]<typename T>() {
      kernels::scale(input.data<T>(), factor, out.data<T>(), out.numel());
    });
    return out;
  };
  Tensor out = scaled(x);
  if (autograd::needs_grad({x})) {
    autograd::record("scale", {x}, {out}, [scaled](const std::vector<Tensor>& grads) {
      return std::vector<Tensor>{scaled(grads[0])};
    });
  }
  return out;
}

Tensor dropout(const Tensor& x, double p, Generator& generator) {
  detail::require_floating("dropout", x);
  if (!(p >= 0 && p < 1)) fail(ErrorCode::value, "dropout", fmt::format("p is {}; want 0 <= p < 1", p));
  if (p == 0) return x;
  const auto decisions = kernels::Dropout::of(p, generator.next());
  const auto thinned = [decisions](const Tensor& source) {
    const Tensor input = detail::plain(source);
    Tensor out = Tensor::empty(input.shape(), input.dtype(), input.device());
    if (input.device() == Device::meta) return out;
    detail::with_floating("dropout", input, [&]<typename T>() {
      kernels::dropout(decisions, input.data<T>(), out.data<T>(), out.numel());
    });
    return out;
  };
  Tensor out = thinned(x);
  if (autograd::needs_grad({x})) {
    autograd::record("dropout", {x}, {out}, [thinned](const std::vector<Tensor>& grads) {
      return std::vector<Tensor>{thinned(grads[0])};
    });
  }
  return out;
}

Tensor sum(const Tensor& x) {
  detail::require_floating("sum", x);
  Tensor out = Tensor::empty({}, x.dtype(), x.device());
  if (x.device() != Device::meta) {
    const Tensor input = detail::plain(x);
    detail::with_floating("sum", x, [&]<typename T>() {
      *out.data<T>() = T(static_cast<kernels::compute_t<T>>(kernels::sum(input.data<T>(), input.numel())));
    });
  }
  if (autograd::needs_grad({x})) {
    autograd::record("sum", {x}, {out}, [shape = x.shape()](const std::vector<Tensor>& grads) {
      Tensor dx = Tensor::empty(shape, grads[0].dtype(), grads[0].device());
      if (dx.device() != Device::meta) {
        detail::with_floating(
            "sum", dx, [&]<typename T>() { std::fill_n(dx.data<T>(), dx.numel(), *grads[0].data<T>()); });
      }
      return std::vector<Tensor>{dx};
    });
  }
  return out;
}

}  // namespace headway::inline v1
