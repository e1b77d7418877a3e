#pragma once
#include <cstdint>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1::train {

enum class Decay { constant, inverse_sqrt, cosine, linear };

HEADWAY_API std::string_view name_of(Decay decay);
/// Error(value) listing the names when it is none of them.
HEADWAY_API Decay decay_named(std::string_view name);

/// A learning rate for each step: a linear warm-up to `rate`, then a decay. A function of the step alone.
struct Schedule {
  Decay decay = Decay::inverse_sqrt;
  double rate = 1e-3;  ///< the highest, reached at step `warmup`
  std::int64_t warmup = 0;
  std::int64_t steps = 0;  ///< length of the training; wanted by cosine and linear, which end there
  double floor = 0;        ///< cosine and linear end at floor·rate
};

/// True when the rate depends on the length of the training.
HEADWAY_API bool needs_length(const Schedule& schedule);
/// Error(value) naming the field that is wrong.
HEADWAY_API void check(const Schedule& schedule);

/// The rate of step 1, 2, …. With w = warmup and p = (step - w)/(steps - w):
///   step ≤ w: rate·step/w      constant: rate      inverse_sqrt: rate·√(w/step) (w at least 1)
///   cosine: rate·(floor + (1 - floor)·(1 + cos πp)/2)      linear: rate·(1 - (1 - floor)·p)
HEADWAY_API double learning_rate(const Schedule& schedule, std::int64_t step);

/// The highest rate of Vaswani 2017, equation 3: lrate = C^-0.5·min(step^-0.5, step·warmup^-1.5) peaks at
/// (C·warmup)^-0.5, and is the inverse_sqrt schedule of that rate.
HEADWAY_API double paper_rate(std::int64_t model_dim, std::int64_t warmup);

}  // namespace headway::inline v1::train
