#include <headway/nn/feed_forward.h>

#include <headway/ops/pointwise.h>

namespace headway::inline v1::nn {
namespace {
Activation activation_of(FeedForwardKind kind) {
  switch (kind) {
    case FeedForwardKind::relu:
      return Activation::relu;
    case FeedForwardKind::gelu:
      return Activation::gelu;
    case FeedForwardKind::swiglu:
      return Activation::none;
  }
  return Activation::none;
}
}  // namespace

FeedForward::FeedForward(const FeedForwardOptions& options, Generator& generator) : options_(options) {
  const bool gated = options.kind == FeedForwardKind::swiglu;
  const LinearLayerOptions in{.inputs = options.model_dim,
                              .outputs = options.hidden,
                              .bias = !gated,
                              .activation = activation_of(options.kind)};
  up_ = std::make_unique<Linear>(in, generator);
  add_child("up", *up_);
  if (gated) {
    LinearLayerOptions gate = in;
    gate.activation = Activation::silu;
    gate_ = std::make_unique<Linear>(gate, generator);
    add_child("gate", *gate_);
  }
  down_ = std::make_unique<Linear>(
      LinearLayerOptions{.inputs = options.hidden, .outputs = options.model_dim, .bias = !gated}, generator);
  add_child("down", *down_);
}

Tensor FeedForward::operator()(const Tensor& x) const {
  Tensor hidden = (*up_)(x);
  if (gate_) hidden = mul((*gate_)(x), hidden);
  if (training() && options_.dropout > 0) hidden = dropout(hidden, options_.dropout, *generator());
  return (*down_)(hidden);
}

}  // namespace headway::inline v1::nn
