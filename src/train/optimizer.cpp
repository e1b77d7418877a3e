#include <headway/train/optimizer.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/core/quote.h>
#include <headway/kernels/adam.h>

namespace headway::inline v1::train {
namespace {

// 16k elements of weight, gradient and two averages are 256 KiB: they stay in the second-level cache, and a
// unit lasts some ten microseconds, long beside the cost of handing it out.
constexpr std::int64_t kBlock = 1 << 14;

const char* at(const Tensor& t, std::int64_t element) {
  return static_cast<const char*>(t.raw()) + static_cast<std::size_t>(element) * size_of(t.dtype());
}
char* at_mutable(const Tensor& t, std::int64_t element) {
  return static_cast<char*>(t.raw()) + static_cast<std::size_t>(element) * size_of(t.dtype());
}

void require(bool right, std::string_view field, double got, std::string_view want) {
  if (!right) fail(ErrorCode::value, "adam", fmt::format("{} is {}; want {}", field, got, want));
}

void require_beta(std::string_view field, double beta) {
  require(beta >= 0 && beta < 1, field, beta, "at least 0 and below 1");
}

}  // namespace

std::vector<ParameterGroup> groups_by_rank(const std::vector<nn::NamedParameter>& parameters) {
  ParameterGroup matrices, vectors;
  vectors.decay = false;
  for (const nn::NamedParameter& p : parameters)
    (p.tensor.rank() >= 2 ? matrices : vectors).parameters.push_back(p);
  return {matrices, vectors};
}

Adam::Adam(const std::vector<nn::NamedParameter>& parameters, const AdamOptions& options)
    : Adam(std::vector<ParameterGroup>{ParameterGroup{.parameters = parameters}}, options) {}

Adam::Adam(std::vector<ParameterGroup> groups, const AdamOptions& options)
    : groups_(std::move(groups)), options_(options) {
  require_beta("beta1", options.beta1);
  require_beta("beta2", options.beta2);
  require(options.eps > 0, "eps", options.eps, "more than 0");
  require(options.weight_decay >= 0 && std::isfinite(options.weight_decay), "weight_decay",
          options.weight_decay, "0 or more");
  require(options.clip_norm >= 0, "clip_norm", options.clip_norm, "0 or more");
  std::set<const core::GradientState*> seen;
  std::set<std::string> names;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    const ParameterGroup& g = groups_[group];
    require(g.rate_factor >= 0 && std::isfinite(g.rate_factor), "rate_factor", g.rate_factor, "0 or more");
    if (g.weight_decay)
      require(*g.weight_decay >= 0 && std::isfinite(*g.weight_decay), "weight_decay", *g.weight_decay,
              "0 or more");
    if (g.beta1) require_beta("beta1", *g.beta1);
    if (g.beta2) require_beta("beta2", *g.beta2);
    for (const auto& [name, parameter] : groups_[group].parameters) {
      if (!parameter.requires_grad()) {
        fail(ErrorCode::value, "adam",
             fmt::format("parameter {} takes no gradient; want require_grad()", quoted(name)));
      }
      if (!seen.insert(parameter.gradient_state().get()).second) continue;
      if (!names.insert(name).second) {
        fail(ErrorCode::value, "adam", fmt::format("two parameters are named {}", quoted(name)));
      }
      if (parameter.dtype() != DType::float32 && parameter.dtype() != DType::float64) {
        fail(ErrorCode::dtype, "adam",
             fmt::format("parameter {} is {}; want float32 or float64", quoted(name), parameter.describe()));
      }
      if (!parameter.is_contiguous()) {
        fail(ErrorCode::unsupported, "adam", fmt::format("parameter {} is not contiguous", quoted(name)));
      }
      slots_.push_back({name, parameter, {}, {}, {}, group});
      if (!g.frozen) make_averages(slots_.back());
    }
  }
}

void Adam::make_averages(Slot& slot) {
  if (slot.first.defined()) return;
  slot.first = zeros(slot.parameter.shape(), slot.parameter.dtype());
  slot.second = zeros(slot.parameter.shape(), slot.parameter.dtype());
  slot.steps = zeros({}, DType::int64);
}

// The work of one step: blocks of the slots that have a gradient, gathered into units of about kBlock
// elements, since most parameters of a model are short vectors.
struct Adam::Plan {
  std::vector<Block> blocks;
  std::vector<std::size_t> unit_begin;  // unit u: blocks unit_begin[u] … unit_begin[u + 1] - 1
  std::vector<Tensor> gradients;        // by slot; undefined: no update
  std::int64_t units() const { return static_cast<std::int64_t>(unit_begin.size()) - 1; }

  template <typename Body>
  void run(Body&& body) const {
    core::parallel_for(units(), [&](std::int64_t unit) {
      const auto u = static_cast<std::size_t>(unit);
      for (std::size_t b = unit_begin[u]; b < unit_begin[u + 1]; ++b) body(b);
    });
  }
};

Adam::Plan Adam::plan() const {
  Plan plan;
  plan.gradients.resize(slots_.size());
  std::int64_t gathered = kBlock;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const Tensor gradient = groups_[slot.group].frozen ? Tensor() : slot.parameter.grad();
    if (!gradient.defined() || gradient.numel() == 0) continue;
    if (gradient.shape() != slot.parameter.shape() || gradient.dtype() != slot.parameter.dtype() ||
        !gradient.is_contiguous()) {
      fail(ErrorCode::shape, "adam",
           fmt::format("the gradient of {} is {}; want contiguous {}", quoted(slot.name), gradient.describe(),
                       slot.parameter.describe()));
    }
    plan.gradients[i] = gradient;
    for (std::int64_t begin = 0; begin < gradient.numel(); begin += kBlock) {
      const std::int64_t end = std::min(begin + kBlock, gradient.numel());
      if (gathered + (end - begin) > kBlock) {
        plan.unit_begin.push_back(plan.blocks.size());
        gathered = 0;
      }
      plan.blocks.push_back({i, begin, end});
      gathered += end - begin;
    }
  }
  plan.unit_begin.push_back(plan.blocks.size());
  return plan;
}

StepResult Adam::step(double rate, double divisor) {
  require(rate >= 0 && std::isfinite(rate), "rate", rate, "0 or more");
  require(divisor > 0 && std::isfinite(divisor), "divisor", divisor, "more than 0");
  const Plan work = plan();
  std::vector<double> squares(work.blocks.size());
  work.run([&](std::size_t b) {
    const Block& block = work.blocks[b];
    const Tensor& gradient = work.gradients[block.slot];
    squares[b] =
        kernels::sum_of_squares(gradient.dtype(), at(gradient, block.begin), block.end - block.begin);
  });
  double total = 0;
  for (const double square : squares) total += square;
  StepResult result{.gradient_norm = std::sqrt(total) / divisor};
  if (!std::isfinite(result.gradient_norm)) {
    result.applied = false;
    return result;
  }
  const bool clip = options_.clip_norm > 0 && result.gradient_norm > options_.clip_norm;
  const double gradient_scale = (clip ? options_.clip_norm / result.gradient_norm : 1.0) / divisor;

  std::vector<kernels::AdamFactors> factors(slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!work.gradients[i].defined()) continue;
    const ParameterGroup& group = groups_[slots_[i].group];
    const auto t = static_cast<double>(++*slots_[i].steps.data<std::int64_t>());
    const double alpha = rate * group.rate_factor;
    const double decay = group.decay ? group.weight_decay.value_or(options_.weight_decay) : 0;
    const double beta1 = group.beta1.value_or(options_.beta1);
    const double beta2 = group.beta2.value_or(options_.beta2);
    factors[i] = {.beta1 = beta1,
                  .beta2 = beta2,
                  .eps = options_.eps,
                  .rate = alpha / (1 - std::pow(beta1, t)),
                  .second_scale = 1 / std::sqrt(1 - std::pow(beta2, t)),
                  .gradient_scale = gradient_scale,
                  .coupled_decay = options_.decoupled ? 0 : decay,
                  .shrink = options_.decoupled ? 1 - alpha * decay : 1};
  }
  work.run([&](std::size_t b) {
    const Block& block = work.blocks[b];
    const Slot& slot = slots_[block.slot];
    kernels::adam(slot.parameter.dtype(), at_mutable(slot.parameter, block.begin),
                  at(work.gradients[block.slot], block.begin), at_mutable(slot.first, block.begin),
                  at_mutable(slot.second, block.begin), block.end - block.begin, factors[block.slot]);
  });
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (work.gradients[i].defined()) slots_[i].parameter.bump_version();
  }
  return result;
}

void Adam::zero_grad() const {
  for (const Slot& slot : slots_) slot.parameter.set_grad({});
}

std::vector<io::NamedTensor> Adam::state() const {
  std::vector<io::NamedTensor> state;
  for (const Slot& slot : slots_) {
    if (!slot.first.defined()) continue;
    state.push_back({slot.name + ".first", slot.first});
    state.push_back({slot.name + ".second", slot.second});
    state.push_back({slot.name + ".steps", slot.steps});
  }
  return state;
}

void Adam::load_state(const std::vector<io::NamedTensor>& from, std::string_view what) {
  std::set<std::string_view> there;
  for (const io::NamedTensor& entry : from) there.insert(entry.name);
  for (Slot& slot : slots_) {
    if (there.contains(slot.name + ".first")) make_averages(slot);
  }
  io::assign(state(), from, what);
}

void Adam::set_frozen(std::size_t group, bool frozen) {
  groups_.at(group).frozen = frozen;
  for (Slot& slot : slots_) {
    if (slot.group == group && !frozen) make_averages(slot);
  }
}
void Adam::set_rate_factor(std::size_t group, double factor) { groups_.at(group).rate_factor = factor; }

}  // namespace headway::inline v1::train
