#include <headway/inspect/layer_cost.h>

#include <functional>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/cost.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/ops/attention.h>
#include <headway/ops/linear.h>
#include <headway/ops/views.h>

#include "inspect/stopwatch.h"

namespace headway::inline v1::inspect {
namespace {

LayerShape complete(LayerShape s) {
  const auto positive = [](const char* name, std::int64_t value) {
    if (value < 1)
      fail(ErrorCode::shape, "layer_cost", fmt::format("{} is {}; want at least 1", name, value));
  };
  positive("batch", s.batch);
  positive("length", s.length);
  positive("dim", s.model_dim);
  positive("heads", s.heads);
  if (s.head_dim == 0) {
    if (s.model_dim % s.heads != 0) {
      fail(ErrorCode::shape, "layer_cost",
           fmt::format("dim {} is not divisible by {} heads; want a divisor, or the head dimension given",
                       s.model_dim, s.heads));
    }
    s.head_dim = s.model_dim / s.heads;
  }
  positive("head_dim", s.head_dim);
  return s;
}

HeadsLayout layout_of(const LayerShape& s) { return {s.heads, s.heads, s.head_dim, s.head_dim}; }

struct Weights3 {
  Tensor x, qkv, output;
};

template <typename Make>
Weights3 tensors_of(const LayerShape& s, Make make) {
  const std::int64_t width = s.heads * s.head_dim;
  return {make(Shape{s.batch, s.length, s.model_dim}), make(Shape{3 * width, s.model_dim}),
          make(Shape{s.model_dim, width})};
}

Tensor joined(const Tensor& heads) {
  return reshape(heads, {heads.size(0), heads.size(1), heads.size(2) * heads.size(3)});
}

}  // namespace

double LayerCost::operations() const {
  double total = 0;
  for (const PartCost& part : parts) total += part.operations;
  return total;
}

LayerCost layer_cost(const LayerShape& shape) {
  LayerCost out;
  const LayerShape s = out.shape = complete(shape);
  const NoGrad no_grad;
  const auto [x, qkv, output] =
      tensors_of(s, [](const Shape& size) { return Tensor::empty(size, DType::float32, Device::meta); });
  struct Traced {
    Tensor result;
    std::vector<Cost> costs;
  };
  const auto traced = [](const std::function<Tensor()>& run) {
    const CostTrace trace;
    const Tensor result = run();
    return Traced{result, trace.costs()};
  };
  const Traced projections = traced([&] { return linear(x, qkv); });
  const Traced attention =
      traced([&] { return attention_combined(projections.result, layout_of(s)).output; });
  const Traced closing = traced([&] { return linear(joined(attention.result), output); });

  const auto add = [&](const char* part, const char* formula, const Traced& traced_part,
                       std::string_view op) {
    PartCost total{.part = part, .formula = formula};
    for (const Cost& cost : traced_part.costs) {
      if (cost.part != op) continue;
      total.operations += cost.operations;
      total.bytes += cost.bytes;
    }
    out.parts.push_back(total);
  };
  add("projections", "2·n·C·3·h·d", projections, "linear");
  add("scores", "2·h·n²·d", attention, "attention.scores");
  add("softmax", "4·h·n²", attention, "attention.softmax");
  add("values", "2·h·n²·d", attention, "attention.values");
  add("output", "2·n·h·d·C", closing, "linear");

  const auto n = static_cast<double>(s.length);
  const auto d = static_cast<double>(s.head_dim);
  out.unfused_bytes = 4 * static_cast<double>(s.batch * s.heads) * n * n;
  out.overtaking_length = 2 * static_cast<double>(s.model_dim) * d / (d + 1);
  return out;
}

LayerTimes measure_layer(const LayerShape& shape, int repeats) {
  const LayerShape s = complete(shape);
  const NoGrad no_grad;
  Generator generator(1);
  const auto [x, qkv, output] = tensors_of(s, [&](const Shape& size) { return randn(size, generator); });
  Tensor projected = linear(x, qkv);
  Tensor attended = joined(attention_combined(projected, layout_of(s)).output);
  linear(attended, output);
  Stopwatch watches[3];
  for (int r = 0; r < repeats; ++r) {
    watches[0].time([&] { projected = linear(x, qkv); });
    watches[1].time([&] { attended = joined(attention_combined(projected, layout_of(s)).output); });
    watches[2].time([&] { linear(attended, output); });
  }
  return {watches[0].median(), watches[1].median(), watches[2].median()};
}

}  // namespace headway::inline v1::inspect
