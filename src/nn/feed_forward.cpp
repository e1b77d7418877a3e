#include <headway/nn/feed_forward.h>

#include <headway/nn/task_head.h>
#include <headway/ops/pointwise.h>

namespace headway::inline v1::nn {
namespace {
Activation activation_of(FeedForwardKind kind) {
  switch (kind) {
    case FeedForwardKind::relu:
    case FeedForwardKind::reglu:
      return Activation::relu;
    case FeedForwardKind::gelu:
    case FeedForwardKind::geglu:
      return Activation::gelu;
    case FeedForwardKind::gelu_tanh:
    case FeedForwardKind::geglu_tanh:
      return Activation::gelu_tanh;
    case FeedForwardKind::silu:
    case FeedForwardKind::swiglu:
      return Activation::silu;
    case FeedForwardKind::quick_gelu:
    case FeedForwardKind::quick_geglu:
    case FeedForwardKind::relu2:
    case FeedForwardKind::reglu2:
      break;  // by `apart`
  }
  return Activation::none;
}

// Those that no product has at its end.
Tensor apart(const Tensor& x, FeedForwardKind kind) {
  if (kind == FeedForwardKind::quick_gelu || kind == FeedForwardKind::quick_geglu)
    return activate(x, HeadActivation::quick_gelu);
  if (kind == FeedForwardKind::relu2 || kind == FeedForwardKind::reglu2)
    return activate(x, HeadActivation::relu2);
  return x;
}
}  // namespace

bool is_gated(FeedForwardKind kind) {
  return kind == FeedForwardKind::swiglu || kind == FeedForwardKind::geglu ||
         kind == FeedForwardKind::geglu_tanh || kind == FeedForwardKind::reglu ||
         kind == FeedForwardKind::quick_geglu || kind == FeedForwardKind::reglu2;
}

FeedForward::FeedForward(const FeedForwardOptions& options, Generator& generator) : options_(options) {
  const bool gated = is_gated(options.kind);
  const bool bias = options.bias.value_or(!gated);
  const LinearLayerOptions in{.inputs = options.model_dim,
                              .outputs = options.hidden,
                              .bias = bias,
                              .activation = gated ? Activation::none : activation_of(options.kind)};
  up_ = std::make_unique<Linear>(in, generator);
  add_child("up", *up_);
  if (gated) {
    LinearLayerOptions gate = in;
    gate.activation = activation_of(options.kind);
    gate_ = std::make_unique<Linear>(gate, generator);
    add_child("gate", *gate_);
  }
  down_ = std::make_unique<Linear>(
      LinearLayerOptions{.inputs = options.hidden, .outputs = options.model_dim, .bias = bias}, generator);
  add_child("down", *down_);
}

Tensor FeedForward::operator()(const Tensor& x) const {
  Tensor hidden = (*up_)(x);
  hidden = gate_ ? mul(apart((*gate_)(x), options_.kind), hidden) : apart(hidden, options_.kind);
  if (training() && options_.dropout > 0) hidden = dropout(hidden, options_.dropout, *generator());
  return (*down_)(hidden);
}

}  // namespace headway::inline v1::nn
