#include "train/step.h"

#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/core/random_stream.h>

namespace headway::inline v1::train {
namespace {

double value_of(const Tensor& loss) {
  return loss.dtype() == DType::float64 ? loss.item<double>() : static_cast<double>(loss.item<float>());
}

// The gradient states of what the optimizer updates. A tensor in two groups (tied weights) is of the first.
std::set<const core::GradientState*> updated(const Adam& optimizer) {
  std::set<const core::GradientState*> seen, out;
  for (const ParameterGroup& group : optimizer.groups()) {
    for (const nn::NamedParameter& parameter : group.parameters) {
      const core::GradientState* state = parameter.tensor.gradient_state().get();
      if (seen.insert(state).second && !group.frozen) out.insert(state);
    }
  }
  return out;
}

// The gradients that lie on the parameters, taken away from there.
std::vector<Tensor> take(const std::vector<nn::NamedParameter>& parameters) {
  std::vector<Tensor> gradients;
  for (const nn::NamedParameter& parameter : parameters) {
    gradients.push_back(parameter.tensor.grad());
    parameter.tensor.set_grad({});
  }
  return gradients;
}

// Batches added up one after another, each with its share of the step's weight.
void add_losses(std::vector<DrawnBatch>& batches, std::size_t first, std::size_t count, double weight,
                GradientSum& sum) {
  for (std::size_t i = first; i < first + count; ++i) {
    const DrawnBatch batch = std::move(batches[i]);
    if (batch.weight == 0) continue;
    const Tensor loss = batch.loss();
    const double share = batch.weight / weight;
    sum.loss += share * value_of(loss);
    loss.backward(full(loss.shape(), share, loss.dtype()));
  }
}

void show(GradientSum& sum, const std::vector<nn::NamedParameter>& parameters, std::int64_t step,
          const std::vector<GradientHook>& hooks) {
  StepGradients seen{.step = step, .loss = sum.loss};
  for (std::size_t i = 0; i < parameters.size(); ++i)
    seen.gradients.push_back({parameters[i].name, parameters[i].tensor, std::move(sum.gradients[i])});
  for (const GradientHook& hook : hooks) hook(seen);
  if (seen.gradients.size() != parameters.size()) {
    fail(ErrorCode::value, "train",
         fmt::format("a hook left {} gradients of {}; want one entry each, undefined for none",
                     seen.gradients.size(), parameters.size()));
  }
  sum.loss = seen.loss;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    sum.gradients[i] = std::move(seen.gradients[i].gradient);
}

}  // namespace

Freezing::Freezing(const std::vector<nn::NamedParameter>& parameters, const Adam& optimizer) {
  const auto wanted = updated(optimizer);
  std::set<const core::GradientState*> seen;
  for (const nn::NamedParameter& parameter : parameters) {
    if (!parameter.tensor.requires_grad()) continue;
    const auto state = parameter.tensor.gradient_state();
    if (!wanted.contains(state.get())) {
      frozen_.emplace_back(parameter.tensor, state);
    } else if (seen.insert(state.get()).second) {
      trained_.push_back(parameter);
    }
  }
  for (const auto& [tensor, state] : frozen_) tensor.set_gradient_state(nullptr);
}

Freezing::~Freezing() {
  for (const auto& [tensor, state] : frozen_) tensor.set_gradient_state(state);
}

StepTotals compute_gradients(Task& task, const Adam& optimizer, std::int64_t step,
                             const TrainerOptions& options, const std::vector<GradientHook>& hooks) {
  StepTotals totals;
  std::vector<DrawnBatch> batches;
  for (std::int64_t i = 0; i < options.micro_batches * options.accumulate; ++i) {
    batches.push_back(task.next());
    if (const double weight = batches.back().weight; !(weight >= 0) || !std::isfinite(weight))
      fail(ErrorCode::value, "train", fmt::format("a batch has weight {}; want 0 or more", weight));
    totals.weight += batches.back().weight;
    totals.tokens += batches.back().tokens;
  }
  Generator* generator = task.generator();
  const Generator before = generator ? *generator : Generator();
  // One micro-batch draws from the generator as it stands; of several, each has a stream of its own.
  const bool streams = generator && options.micro_batches > 1;
  const auto each = static_cast<std::size_t>(options.accumulate);
  const std::int64_t count = options.micro_batches / options.part.count;
  std::vector<nn::NamedParameter> trained;
  GradientSum sum;
  {
    const Freezing freezing(task.parameters(), optimizer);
    trained = freezing.trained();
    sum = tree_sum(options.part.index * count, count, [&](std::int64_t micro_batch) {
      if (streams) {
        *generator = core::random_stream(before, static_cast<std::uint64_t>(step),
                                         static_cast<std::uint64_t>(micro_batch));
      }
      GradientSum leaf;
      add_losses(batches, static_cast<std::size_t>(micro_batch) * each, each, totals.weight, leaf);
      leaf.gradients = take(trained);
      return leaf;
    });
  }
  if (streams) *generator = before;
  if (!hooks.empty()) show(sum, trained, step, hooks);
  for (std::size_t i = 0; i < trained.size(); ++i) trained[i].tensor.set_grad(std::move(sum.gradients[i]));
  totals.loss = totals.weight > 0 ? sum.loss : std::numeric_limits<double>::quiet_NaN();
  return totals;
}

}  // namespace headway::inline v1::train
