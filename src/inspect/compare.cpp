#include <headway/inspect/compare.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "inspect/stopwatch.h"

namespace headway::inline v1::inspect {
namespace {

constexpr std::uint64_t kSeed = 1;

void check(const CompareSize& s) {
  if (s.batch > 0 && s.length > 0 && s.model_dim > 0 && s.heads > 0) return;
  fail(ErrorCode::shape, "compare",
       fmt::format("size is B={}, T={}, C={}, H={}; want all at least 1", s.batch, s.length, s.model_dim,
                   s.heads));
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = a.to_vector<float>();
  const std::vector<float> y = b.to_vector<float>();
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
  return largest;
}

void fill(const Tensor& target, float value) { copy_into(target, full(target.shape(), value)); }

Tensor identity(std::int64_t rows, std::int64_t columns, std::int64_t column) {
  const Tensor out = zeros({rows, columns});
  for (std::int64_t i = 0; i < rows; ++i) out.data<float>()[i * columns + column + i] = 1;
  return out;
}

// A combined layer with the same function as `layer`: it shows what the others leave out of it.
std::unique_ptr<HeadsLayer> as_combined(const HeadsLayer& layer, const CompareSize& size) {
  Generator generator(kSeed);
  auto combined = std::make_unique<HeadsLayer>(Heads::combined, size.model_dim, size.heads, generator);
  nn::MultiHeadAttention& to = *combined->attention();
  const std::int64_t dim = size.model_dim / size.heads;
  const NoGrad no_grad;
  for (std::int64_t h = 0; h < size.heads; ++h) {
    const auto mine = to.head(h);
    const Tensor weights[] = {mine.query_weight, mine.key_weight, mine.value_weight};
    const Tensor biases[] = {mine.query_bias, mine.key_bias, mine.value_bias};
    if (layer.kind() == Heads::no_projections) {
      for (int r = 0; r < 3; ++r) {
        copy_into(weights[r], identity(dim, size.model_dim, h * dim));
        fill(biases[r], 0);
      }
      copy_into(mine.output_weight, transpose(identity(dim, size.model_dim, h * dim), 0, 1));
      continue;
    }
    const auto from = layer.attention()->head(h);
    const Tensor sources[] = {from.query_weight, from.key_weight, from.value_weight};
    const Tensor source_biases[] = {from.query_bias, from.key_bias, from.value_bias};
    for (int r = 0; r < 3; ++r) {
      fill(weights[r], 0);
      // A sliced head's matrix is [D, C/H]: the columns that it does not see are zeros in the whole one.
      const std::int64_t width = sources[r].size(1);
      const std::int64_t begin = width == size.model_dim ? 0 : h * width;
      copy_into(slice(weights[r], 1, begin, begin + width), sources[r]);
      copy_into(biases[r], source_biases[r]);
    }
    copy_into(mine.output_weight, from.output_weight);
  }
  return combined;
}

struct Candidate {
  std::unique_ptr<HeadsLayer> layer;
  Tensor x;
  Stopwatch forward, training;
};

void train_once(const Candidate& candidate, const Tensor& seed) {
  (*candidate.layer)(candidate.x).output.backward(seed);
}

void forget_gradients(const Candidate& candidate) {
  candidate.layer->zero_grad();
  candidate.x.set_grad({});
  // An optimizer's step would have changed the weights: copies made of them are stale.
  for (const auto& parameter : candidate.layer->parameters()) parameter.tensor.bump_version();
}

}  // namespace

std::vector<CompareRow> compare_heads(const CompareSize& size, int repeats) {
  check(size);
  Generator generator(kSeed);
  const Shape shape{size.batch, size.length, size.model_dim};
  const Tensor input = randn(shape, generator);
  const Tensor seed = randn(shape, generator);
  std::vector<Candidate> candidates;
  std::vector<CompareRow> rows;
  for (const Heads kind : kAllHeads) {
    Generator weights(kSeed);
    Candidate candidate{std::make_unique<HeadsLayer>(kind, size.model_dim, size.heads, weights),
                        require_grad(input.detach()),
                        {},
                        {}};
    CompareRow row{.kind = kind, .parameters = candidate.layer->parameter_count(), .difference = {}};
    {
      const NoGrad no_grad;
      const CostTrace trace;
      const Tensor output = (*candidate.layer)(input).output;
      row.operations = trace.operations();
      if (kind != Heads::single && kind != Heads::combined) {
        row.difference = largest_difference(output, (*as_combined(*candidate.layer, size))(input).output);
      }
      if (kind == Heads::combined) row.difference = 0;
    }
    train_once(candidate, seed);
    forget_gradients(candidate);
    const std::int64_t before = memory_stats().current;
    reset_peak();
    train_once(candidate, seed);
    row.peak_bytes = memory_stats().peak - before;
    forget_gradients(candidate);
    candidates.push_back(std::move(candidate));
    rows.push_back(row);
  }
  // Everybody goes first in turn: who follows another kind of work pays for its caches.
  for (std::size_t r = 0; r < static_cast<std::size_t>(repeats); ++r) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      Candidate& candidate = candidates[(r + i) % candidates.size()];
      candidate.training.time([&] { train_once(candidate, seed); });
      forget_gradients(candidate);
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      Candidate& candidate = candidates[(r + i) % candidates.size()];
      const NoGrad no_grad;
      (*candidate.layer)(input);  // reorders the weights that training changed
      candidate.forward.time([&] { (*candidate.layer)(input); });
    }
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].forward_seconds = candidates[i].forward.median();
    rows[i].training_seconds = candidates[i].training.median();
    rows[i].spread = std::max(candidates[i].forward.spread(), candidates[i].training.spread());
  }
  return rows;
}

EqualityCheck check_equality(const CompareSize& size) {
  check(size);
  Generator generator(kSeed);
  nn::MultiHeadAttention layer({.model_dim = size.model_dim, .heads = size.heads}, generator);
  const Shape shape{size.batch, size.length, size.model_dim};
  const Tensor x = require_grad(randn(shape, generator));
  const Tensor seed = randn(shape, generator);
  struct Run {
    Tensor output, input_gradient;
    std::vector<Tensor> weight_gradients;
  };
  const auto run = [&] {
    const Tensor y = layer(x);
    y.backward(seed);
    std::vector<nn::NamedParameter> gradients;
    for (const auto& parameter : layer.parameters())
      gradients.push_back({parameter.name, parameter.tensor.grad()});
    // Both layouts' gradients in split form, cut alike.
    Run out{y.detach(), x.grad(), {}};
    for (const auto& gradient : nn::convert_projection(gradients, layer.options(), nn::Projection::split)) {
      out.weight_gradients.push_back(gradient.tensor);
    }
    layer.zero_grad();
    x.set_grad({});
    return out;
  };
  const Run combined = run();
  layer.to(nn::Projection::split);
  const Run split = run();
  EqualityCheck out{largest_difference(combined.output, split.output),
                    largest_difference(combined.input_gradient, split.input_gradient), 0};
  for (std::size_t i = 0; i < combined.weight_gradients.size(); ++i) {
    out.weight_gradient = std::max(
        out.weight_gradient, largest_difference(combined.weight_gradients[i], split.weight_gradients[i]));
  }
  return out;
}

}  // namespace headway::inline v1::inspect
