#include <headway/train/schedule.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>

namespace headway::inline v1::train {
namespace {

constexpr std::array<std::string_view, 4> kNames{"constant", "inverse_sqrt", "cosine", "linear"};

[[noreturn]] void refuse(const std::string& message) { fail(ErrorCode::value, "schedule", message); }

}  // namespace

std::string_view name_of(Decay decay) { return kNames[static_cast<std::size_t>(decay)]; }

Decay decay_named(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) {
    refuse(fmt::format("the name is {}; want constant, inverse_sqrt, cosine or linear", quoted(name)));
  }
  return static_cast<Decay>(found - kNames.begin());
}

bool needs_length(const Schedule& s) { return s.decay == Decay::cosine || s.decay == Decay::linear; }

void check(const Schedule& s) {
  if (!(s.rate >= 0) || !std::isfinite(s.rate)) refuse(fmt::format("rate is {}; want 0 or more", s.rate));
  if (s.warmup < 0) refuse(fmt::format("warmup is {}; want 0 or more", s.warmup));
  if (s.steps < 0) refuse(fmt::format("steps is {}; want 0 or more", s.steps));
  if (!(s.floor >= 0) || s.floor > 1) refuse(fmt::format("floor is {}; want 0 to 1", s.floor));
}

double learning_rate(const Schedule& s, std::int64_t step) {
  if (step < 1) refuse(fmt::format("step is {}; want 1 or more", step));
  const auto t = static_cast<double>(step);
  const auto w = static_cast<double>(s.warmup);
  if (step <= s.warmup) return s.rate * t / w;
  if (s.decay == Decay::constant) return s.rate;
  if (s.decay == Decay::inverse_sqrt) return s.rate * std::sqrt(std::max(w, 1.0) / t);
  if (s.steps == 0)
    refuse(fmt::format("{} is asked for step {}; want steps, its length", name_of(s.decay), step));
  if (step >= s.steps) return s.rate * s.floor;
  const double p = (t - w) / (static_cast<double>(s.steps) - w);
  if (s.decay == Decay::linear) return s.rate * (1 - (1 - s.floor) * p);
  return s.rate * (s.floor + (1 - s.floor) * (1 + std::cos(std::numbers::pi * p)) / 2);
}

double paper_rate(std::int64_t model_dim, std::int64_t warmup) {
  if (model_dim < 1 || warmup < 1) {
    refuse(fmt::format("model_dim is {} and warmup {}; want both at least 1", model_dim, warmup));
  }
  return 1 / std::sqrt(static_cast<double>(model_dim) * static_cast<double>(warmup));
}

}  // namespace headway::inline v1::train
