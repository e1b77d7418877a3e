#include "train/trainer_check.h"

#include <bit>
#include <set>

#include <fmt/format.h>

namespace headway::inline v1::train {
namespace {

[[noreturn]] void refuse(const std::string& message) { fail(ErrorCode::value, "train", message); }

void check_micro_batches(const TrainerOptions& options, const TrainerCallbacks& callbacks) {
  const auto& [index, count] = options.part;
  if (options.micro_batches < 1)
    refuse(fmt::format("micro_batches is {}; want 1 or more", options.micro_batches));
  if (options.accumulate < 1) refuse(fmt::format("accumulate is {}; want 1 or more", options.accumulate));
  if (count < 1 || !std::has_single_bit(static_cast<std::uint64_t>(count)) ||
      options.micro_batches % count != 0) {
    refuse(fmt::format("part is of {}; want a power of two that divides the {} micro-batches", count,
                       options.micro_batches));
  }
  if (index < 0 || index >= count)
    refuse(fmt::format("part is {} of {}; want 0 to {}", index, count, count - 1));
  if (count > 1 && callbacks.hooks.empty())
    refuse(fmt::format("part is one of {}; want a hook that sums the gradients of all", count));
}

// What the optimizer updates must be the task's, or its gradients would be in no sum and no checkpoint.
void check_parameters(const Task& task, const Adam& optimizer) {
  std::set<const core::GradientState*> known;
  for (const nn::NamedParameter& parameter : task.parameters()) {
    if (parameter.tensor.requires_grad()) known.insert(parameter.tensor.gradient_state().get());
  }
  for (const ParameterGroup& group : optimizer.groups()) {
    for (const auto& [name, tensor] : group.parameters) {
      if (!known.contains(tensor.gradient_state().get()))
        refuse(fmt::format("the optimizer updates \"{}\", which is no parameter of the task", name));
    }
  }
}

void check_arguments(const TrainerOptions& options, const TrainerCallbacks& callbacks) {
  if ((options.steps > 0) == (options.minutes > 0)) {
    refuse(
        fmt::format("steps is {} and minutes {}; want one of them above 0", options.steps, options.minutes));
  }
  check_micro_batches(options, callbacks);
  if (options.calibration_steps < 1) {
    refuse(fmt::format("calibration_steps is {}; want 1 or more", options.calibration_steps));
  }
  check(options.schedule);
  if (options.minutes > 0 && needs_length(options.schedule) && options.schedule.steps == 0 &&
      options.schedule.warmup < 2) {
    refuse(fmt::format("warmup is {}: {} is measured in minutes while it warms up; want 2 steps or more",
                       options.schedule.warmup, name_of(options.schedule.decay)));
  }
}

}  // namespace

void check_training(const Task& task, const Adam& optimizer, const TrainerOptions& options,
                    const TrainerCallbacks& callbacks) {
  check_arguments(options, callbacks);
  check_parameters(task, optimizer);
}

}  // namespace headway::inline v1::train
