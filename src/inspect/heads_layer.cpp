#include <headway/core/error.h>
#include <headway/inspect/compare.h>
#include <headway/ops/views.h>

#include <fmt/format.h>

namespace headway::inline v1::inspect {
namespace {

nn::MultiHeadAttentionOptions options_of(Heads kind, std::int64_t model_dim, std::int64_t heads) {
  nn::MultiHeadAttentionOptions options;
  options.model_dim = model_dim;
  options.heads = kind == Heads::single ? 1 : heads;
  if (kind == Heads::split || kind == Heads::sliced) options.projection = nn::Projection::split;
  if (kind == Heads::sliced) options.head_input = nn::HeadInput::slice;
  return options;
}

}  // namespace

std::string_view name_of(Heads heads) {
  switch (heads) {
    case Heads::combined:
      return "combined";
    case Heads::split:
      return "split";
    case Heads::sliced:
      return "sliced input";
    case Heads::single:
      return "single head";
    case Heads::no_projections:
      return "no projections";
  }
  return "unknown";
}

std::string_view use_of(Heads heads) {
  switch (heads) {
    case Heads::combined:
      return "fastest; one matrix to load, store and optimise";
    case Heads::split:
      return "freeze, replace, remove a head, or give it its own learning rate";
    case Heads::sliced:
      return "fewer parameters; a head sees only its columns";
    case Heads::single:
      return "one map: one mixture of positions for all columns";
    case Heads::no_projections:
      return "nothing to learn: similarity of the input to itself";
  }
  return "";
}

HeadsLayer::HeadsLayer(Heads kind, std::int64_t model_dim, std::int64_t heads, Generator& generator)
    : kind_(kind), heads_(heads) {
  if (heads < 1 || model_dim % heads != 0) {
    fail(ErrorCode::shape, "compare",
         fmt::format("dim {} is not divisible by {} heads; want a divisor", model_dim, heads));
  }
  if (kind == Heads::no_projections) return;
  attention_ = std::make_unique<nn::MultiHeadAttention>(options_of(kind, model_dim, heads), generator);
  add_child("attention", *attention_);
}

nn::Attended HeadsLayer::operator()(const Tensor& x, const nn::AttendOptions& options) const {
  if (attention_) return attention_->attend(x, options);
  if (x.rank() != 3)
    fail(ErrorCode::shape, "compare", fmt::format("input is {}; want [B, T, C]", x.describe()));
  const Tensor heads = reshape(x, {x.size(0), x.size(1), heads_, x.size(2) / heads_});
  AttentionOptions call;
  call.mask = options.mask;
  call.bias = options.bias;
  call.weights = options.weights;
  const AttentionResult result = headway::attention(heads, heads, heads, call);
  return {reshape(result.output, x.shape()), result.weights};
}

}  // namespace headway::inline v1::inspect
