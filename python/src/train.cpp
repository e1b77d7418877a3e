#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <headway/ops/views.h>
#include <headway/train/average.h>
#include <headway/train/groups.h>
#include <headway/train/schedule.h>

#include "array.h"
#include "bindings.h"
#include "parameters.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

std::vector<nn::NamedParameter> parameters_of(nb::handle source) {
  if (nb::isinstance<nn::Module>(source)) return nb::cast<nn::Module&>(source).parameters();
  nb::dict named;
  if (!nb::try_cast(source, named)) {
    fail(ErrorCode::value, "parameters",
         "are a " + spelled_type(source) + "; want a module, or a dict of name to Tensor");
  }
  std::vector<nn::NamedParameter> out;
  for (const auto& [name, value] : named) {
    const auto key = nb::cast<std::string>(nb::str(name));
    if (!is_tensor(value)) {
      fail(ErrorCode::value, "parameters", "\"" + key + "\" is a " + spelled_type(value) + "; want a Tensor");
    }
    out.push_back({key, nb::cast<Tensor>(value)});
  }
  return out;
}

namespace {

nb::typed<nb::dict, std::string, nb::any> arrays_of(const std::vector<io::NamedTensor>& state) {
  nb::dict out;
  for (const io::NamedTensor& entry : state)
    out[name_of_key(entry.name)] = to_numpy(entry.tensor).attr("copy")();
  return out;
}

std::vector<io::NamedTensor> tensors_of(const nb::typed<nb::dict, std::string, nb::any>& state) {
  std::vector<io::NamedTensor> out;
  for (const auto& [name, value] : state) {
    const auto key = nb::cast<std::string>(nb::str(name));
    out.push_back({key, contiguous(import_array("load_state", key.c_str(), value).detach())});
  }
  return out;
}

using Arrays = nb::typed<nb::dict, std::string, nb::any>;
using AdamState = std::tuple<Arrays, Options, Arrays>;

// Its parameters, its keywords and its averages.
AdamState state_of(const train::Adam& self) {
  Arrays parameters;
  bool decays_all = true;
  std::vector<train::GroupRule> rules;
  for (const train::ParameterGroup& group : self.groups()) {
    decays_all = decays_all && group.decay;
    rules.push_back({.rate_factor = group.rate_factor,
                     .weight_decay = group.weight_decay,
                     .beta1 = group.beta1,
                     .beta2 = group.beta2,
                     .frozen = group.frozen});
    for (const nn::NamedParameter& parameter : group.parameters) {
      parameters[name_of_key(parameter.name)] = parameter.tensor;
      rules.back().names.push_back(parameter.name);
    }
  }
  Options of;
  of["beta1"] = self.options().beta1;
  of["beta2"] = self.options().beta2;
  of["eps"] = self.options().eps;
  of["weight_decay"] = self.options().weight_decay;
  of["decoupled"] = self.options().decoupled;
  of["clip_norm"] = self.options().clip_norm;
  of["decay_matrices_alone"] = !decays_all;
  // Rules split groups by rank: one that has none must come back whole, in its order.
  const bool plain = std::all_of(rules.begin(), rules.end(), [](const train::GroupRule& rule) {
    return rule.rate_factor == 1 && !rule.weight_decay && !rule.beta1 && !rule.beta2 && !rule.frozen;
  });
  if (!plain) of["groups"] = rules;
  return {parameters, of, arrays_of(self.state())};
}

std::size_t group_of(const train::Adam& self, const std::string& name) {
  for (std::size_t group = 0; group < self.groups().size(); ++group) {
    for (const nn::NamedParameter& parameter : self.groups()[group].parameters) {
      if (parameter.name == name) return group;
    }
  }
  fail(ErrorCode::value, "adam", "\"" + name + "\" is the name of no parameter");
}

void bind_groups(nb::module_& m) {
  using train::GroupRule;
  using Optional = std::optional<double>;
  using State = std::tuple<std::vector<std::string>, double, Optional, Optional, Optional, bool>;
  nb::class_<GroupRule>(m, "GroupRule", "Says how the parameters are treated that it names.")
      .def(
          "__init__",
          [](GroupRule* self, std::vector<std::string> names, double rate_factor, Optional weight_decay,
             Optional beta1, Optional beta2, bool frozen) {
            new (self) GroupRule{std::move(names), rate_factor, weight_decay, beta1, beta2, frozen};
          },
          "names"_a, nb::kw_only(), "rate_factor"_a = 1.0, "weight_decay"_a = nb::none(),
          "beta1"_a = nb::none(), "beta2"_a = nb::none(), "frozen"_a = false,
          "Args:\n    names: names, or patterns with *, ? and [abc]: \"encoder.*\".\n"
          "    rate_factor: of the learning rate.\n"
          "    weight_decay, beta1, beta2: None: the optimizer's.\n"
          "    frozen: left as they are; a Trainer has no gradient computed for them.")
      .def_ro("names", &GroupRule::names)
      .def_ro("rate_factor", &GroupRule::rate_factor)
      .def_ro("weight_decay", &GroupRule::weight_decay)
      .def_ro("beta1", &GroupRule::beta1)
      .def_ro("beta2", &GroupRule::beta2)
      .def_ro("frozen", &GroupRule::frozen)
      .def("__getstate__",
           [](const GroupRule& r) {
             return State{r.names, r.rate_factor, r.weight_decay, r.beta1, r.beta2, r.frozen};
           })
      .def("__setstate__", [](GroupRule& self, const State& state) {
        const auto& [names, rate_factor, weight_decay, beta1, beta2, frozen] = state;
        new (&self) GroupRule{names, rate_factor, weight_decay, beta1, beta2, frozen};
      });
}

void bind_adam(nb::module_& m) {
  using train::Adam;
  nb::class_<train::StepResult>(m, "StepResult", "What one update did.")
      .def_ro("gradient_norm", &train::StepResult::gradient_norm, "after the divisor, before clipping")
      .def_ro("applied", &train::StepResult::applied,
              "False: the norm is not finite, and nothing was changed");
  nb::class_<Adam>(
      m, "Adam",
      "Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), for all parameters in one pass.")
      .def(
          "__init__",
          [](Adam* self, nb::handle parameters, double beta1, double beta2, double eps, double weight_decay,
             bool decoupled, double clip_norm, bool decay_matrices_alone,
             const std::vector<train::GroupRule>& groups) {
            const train::AdamOptions options{.beta1 = beta1,
                                             .beta2 = beta2,
                                             .eps = eps,
                                             .weight_decay = weight_decay,
                                             .decoupled = decoupled,
                                             .clip_norm = clip_norm};
            const auto named = parameters_of(parameters);
            auto made = groups.empty() && !decay_matrices_alone
                            ? std::vector<train::ParameterGroup>{{.parameters = named}}
                            : train::make_groups(named, groups);
            for (train::ParameterGroup& group : made) group.decay = group.decay || !decay_matrices_alone;
            new (self) Adam(std::move(made), options);
          },
          "parameters"_a, nb::kw_only(), "beta1"_a = 0.9, "beta2"_a = 0.98, "eps"_a = 1e-9,
          "weight_decay"_a = 0.0, "decoupled"_a = true, "clip_norm"_a = 0.0, "decay_matrices_alone"_a = true,
          "groups"_a = std::vector<train::GroupRule>(), nb::keep_alive<1, 2>(),
          "Args:\n    parameters: a module, or a dict of name to Tensor.\n"
          "    beta1, beta2, eps: as in Vaswani 2017, section 5.3, unless given.\n"
          "    decoupled: AdamW, the weight shrinks by rate·weight_decay; else weight_decay·w joins the "
          "gradient.\n"
          "    clip_norm: the gradient of all parameters together is scaled down to this length; 0: never.\n"
          "    decay_matrices_alone: biases and norms do not decay.\n"
          "    groups: a parameter is treated by the first GroupRule that names it, else as the other "
          "arguments say.\n\n"
          "Raises:\n    Error: (value) for a setting out of its range or a Tensor without gradient, or a "
          "name that fits none, (dtype) unless float32 "
          "or float64.")
      .def(
          "step",
          [](Adam& self, double rate, double divisor) {
            const nb::gil_scoped_release release;
            return self.step(rate, divisor);
          },
          "rate"_a, "divisor"_a = 1.0,
          "One update from the gradients that are there, divided by `divisor`. Parameters without gradient "
          "are skipped.")
      .def(
          "set_frozen",
          [](Adam& self, const std::string& name, bool frozen) {
            self.set_frozen(group_of(self, name), frozen);
          },
          "name"_a, "frozen"_a,
          "Freezes the group that the named parameter is in, or thaws it; a Trainer heeds it from the next "
          "step on.")
      .def(
          "set_rate_factor",
          [](Adam& self, const std::string& name, double factor) {
            self.set_rate_factor(group_of(self, name), factor);
          },
          "name"_a, "factor"_a, "Of the learning rate, for the group that the named parameter is in.")
      .def("zero_grad", &Adam::zero_grad, "Forgets the gradients of all parameters.")
      .def(
          "state_dict", [](const Adam& self) { return arrays_of(self.state()); },
          "\"NAME.first\", \"NAME.second\" (averages of gradient and squared gradient) and \"NAME.steps\" of "
          "each "
          "parameter, copied.")
      .def(
          "load_state_dict",
          [](Adam& self, const nb::typed<nb::dict, std::string, nb::any>& state) {
            self.load_state(tensors_of(state));
          },
          "state"_a, "Raises:\n    Error: (format) when names or shapes do not fit.")
      .def("__getstate__", &state_of)
      .def("__setstate__", [](nb::handle self, const AdamState& state) {
        const auto& [parameters, keywords, averages] = state;
        nb::type<Adam>().attr("__init__")(self, parameters, **keywords);
        nb::cast<Adam&>(self).load_state(tensors_of(averages));
      });
}

void bind_schedule(nb::module_& m) {
  using train::Decay;
  using train::Schedule;
  nb::enum_<Decay>(m, "Decay", "How a learning rate falls after its warm-up: see Schedule.")
      .value("constant", Decay::constant)
      .value("inverse_sqrt", Decay::inverse_sqrt)
      .value("cosine", Decay::cosine)
      .value("linear", Decay::linear);
  nb::class_<Schedule>(
      m, "Schedule",
      "A learning rate for each step: a linear warm-up to `rate`, then a decay. Call it with the step.")
      .def(
          "__init__",
          [](Schedule* self, double rate, std::int64_t warmup, Decay decay, std::int64_t steps,
             double floor) {
            const Schedule schedule{
                .decay = decay, .rate = rate, .warmup = warmup, .steps = steps, .floor = floor};
            check(schedule);
            if (needs_length(schedule) && steps == 0)
              fail(ErrorCode::value, "Schedule",
                   "steps is 0; want the length of the training, where the decay ends");
            new (self) Schedule(schedule);
          },
          "rate"_a, nb::kw_only(), "warmup"_a = 0, "decay"_a = Decay::inverse_sqrt, "steps"_a = 0,
          "floor"_a = 0.0,
          "Args:\n    rate: the highest, reached at step `warmup`.\n    steps: length of the training; "
          "wanted by cosine and "
          "linear, which end there at floor·rate.\n\nRaises:\n    Error: (value) naming the field that is "
          "wrong.")
      .def(
          "__call__", [](const Schedule& self, std::int64_t step) { return learning_rate(self, step); },
          "step"_a, "The rate of step 1, 2, ….")
      .def("__getstate__",
           [](const Schedule& self) {
             return std::make_tuple(self.decay, self.rate, self.warmup, self.steps, self.floor);
           })
      .def("__setstate__",
           [](Schedule& self, const std::tuple<Decay, double, std::int64_t, std::int64_t, double>& state) {
             new (&self) Schedule(std::make_from_tuple<Schedule>(state));
           });
  m.def("paper_rate", &train::paper_rate, "model_dim"_a, "warmup"_a,
        "The highest rate of Vaswani 2017, equation 3: (C·warmup)^-½.");
}

void bind_average(nb::module_& m) {
  using train::ExponentialAverage;
  nb::class_<ExponentialAverage> c(
      m, "ExponentialAverage",
      "The exponential moving average of the weights, a ← d·a + (1 - d)·w after each update "
      "(Polyak & Juditsky 1992); d grows as min(decay, (1 + t)/(10 + t)). In `with average:` the "
      "weights are the average.");
  refuse_pickling(c, "ExponentialAverage", "the weights that are in force in `with average:`");
  c.def(
       "__init__",
       [](ExponentialAverage* self, nb::handle parameters, double decay) {
         new (self) ExponentialAverage(parameters_of(parameters), decay);
       },
       "parameters"_a, "decay"_a, nb::keep_alive<1, 2>())
      .def("update", &ExponentialAverage::update, "Takes the present weights in.")
      .def("__enter__", [](ExponentialAverage& self) { self.swap(); })
      .def("__exit__", [](ExponentialAverage& self, const nb::args&) { self.swap(); });
}

}  // namespace

void bind_train(nb::module_& m) {
  bind_groups(m);
  bind_adam(m);
  bind_schedule(m);
  bind_average(m);
  bind_trainer(m);
}

}  // namespace headway::python
