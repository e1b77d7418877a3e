#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <headway/ops/views.h>
#include <headway/train/trainer.h>

#include "array.h"
#include "bindings.h"
#include "parameters.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

// A Python object that may be let go of on any thread.
std::shared_ptr<nb::object> shared(nb::object object) {
  return {new nb::object(std::move(object)), [](nb::object* held) {
            const nb::gil_scoped_acquire gil;
            delete held;
          }};
}

// A headway.train.Task, called with Python's lock held. The trainer runs without it.
class PythonTask final : public train::Task {
 public:
  explicit PythonTask(nb::object task)
      : task_(std::move(task)),
        parameters_(parameters_of(task_.attr("model"))),
        held_generator_(task_.attr("generator")) {
    if (!held_generator_.is_none()) generator_ = nb::cast<Generator*>(held_generator_);
  }

  std::vector<nn::NamedParameter> parameters() const override { return parameters_; }
  train::DrawnBatch next() override {
    const nb::gil_scoped_acquire gil;
    const auto batch = shared(task_.attr("batch")(next_++));
    const double weight = nb::cast<double>(task_.attr("weight")(*batch));
    return {.weight = weight,
            .tokens = nb::cast<std::int64_t>(task_.attr("tokens")(*batch)),
            .loss = [this, batch] {
              const nb::gil_scoped_acquire inner;
              const nb::object loss = task_.attr("loss")(*batch);
              if (!is_tensor(loss)) {
                fail(ErrorCode::value, "train",
                     "loss() gave a " + spelled_type(loss) + "; want a Tensor of one element");
              }
              return nb::cast<Tensor>(loss);
            }};
  }
  train::BatchPosition position() const override { return {.epoch = 0, .batch = next_}; }
  void seek(const train::BatchPosition& position) override { next_ = position.batch; }
  Generator* generator() override { return generator_; }

  std::optional<train::Evaluation> evaluate(std::int64_t step) override {
    const nb::gil_scoped_acquire gil;
    const nb::object measured = task_.attr("evaluate")(step);
    if (measured.is_none()) return std::nullopt;
    train::Evaluation out{.metrics = nb::cast<std::map<std::string, double>>(measured)};
    const auto score = out.metrics.find("score");
    if (score == out.metrics.end()) {
      const auto loss = out.metrics.find("validation_loss");
      if (loss != out.metrics.end()) out.score = -loss->second;
    } else {
      out.score = score->second;
      out.metrics.erase(score);
    }
    return out;
  }
  std::map<std::string, std::string> identity() const override {
    const nb::gil_scoped_acquire gil;
    return nb::cast<std::map<std::string, std::string>>(task_.attr("identity")());
  }

 private:
  nb::object task_;
  std::vector<nn::NamedParameter> parameters_;
  nb::object held_generator_;  // the task's attribute may be set anew
  Generator* generator_ = nullptr;
  std::int64_t next_ = 0;
};

// The hook gets a copy, whose handles are the step's, and what it leaves there is taken back: a reference
// that Python keeps must not outlive the step.
train::GradientHook hook_of(nb::object callable) {
  return [callable = shared(std::move(callable))](train::StepGradients& step) {
    const nb::gil_scoped_acquire gil;
    const nb::object seen = nb::cast(step);
    (*callable)(seen);
    step = nb::cast<const train::StepGradients&>(seen);
  };
}

// Called with the arguments that Python sees; None: never.
template <typename... Arguments>
std::function<void(Arguments...)> callback_of(nb::object callable) {
  if (callable.is_none()) return {};
  return [callable = shared(std::move(callable))](Arguments... arguments) {
    const nb::gil_scoped_acquire gil;
    (*callable)(arguments...);
  };
}

class PythonTrainer {
 public:
  PythonTrainer(nb::object task, train::Adam& optimizer, const train::TrainerOptions& options,
                const train::TrainerCallbacks& callbacks)
      : task_(std::move(task)), trainer_(task_, optimizer, options, callbacks) {}
  bool step() {
    const nb::gil_scoped_release release;
    return trainer_.step();
  }
  train::TrainSummary run() {
    const nb::gil_scoped_release release;
    return trainer_.run();
  }
  train::TrainSummary summary() const { return trainer_.summary(); }

 private:
  PythonTask task_;
  train::Trainer trainer_;
};

std::size_t index_of(const train::StepGradients& step, const std::string& name) {
  for (std::size_t i = 0; i < step.gradients.size(); ++i) {
    if (step.gradients[i].name == name) return i;
  }
  throw nb::key_error(name.c_str());
}

void bind_results(nb::module_& m) {
  using train::StepGradients;
  using train::StepReport;
  using train::TrainSummary;
  nb::class_<StepGradients>(
      m, "StepGradients",
      "What a hook sees between the sum of a step's gradients and their clipping: gradients by the names of "
      "their parameters, to read, to set, or to take away.")
      .def_ro("step", &StepGradients::step, "that will be made with them: 1, 2, …")
      .def_rw("loss", &StepGradients::loss, "of the micro-batches of this process")
      .def("__len__", [](const StepGradients& self) { return self.gradients.size(); })
      .def(
          "keys",
          [](const StepGradients& self) {
            std::vector<std::string> names;
            for (const auto& gradient : self.gradients) names.push_back(gradient.name);
            return names;
          },
          "Names of the parameters that are trained.")
      .def(
          "__getitem__",
          [](const StepGradients& self, const std::string& name) {
            return optional(self.gradients[index_of(self, name)].gradient);
          },
          "name"_a, "A Tensor; None where no gradient flowed.")
      .def(
          "__setitem__",
          [](StepGradients& self, const std::string& name, nb::handle value) {
            auto& gradient = self.gradients[index_of(self, name)].gradient;
            gradient = import_optional("gradients", name.c_str(), value);
            if (!gradient.defined()) return;
            const Tensor copy = Tensor::empty(gradient.shape(), gradient.dtype());
            copy_into(copy, gradient.detach());
            gradient = copy;
          },
          "name"_a, "value"_a.none(), "An array, copied, or None.");
  nb::class_<StepReport>(m, "StepReport", "What one update did.")
      .def_ro("step", &StepReport::step)
      .def_ro("total_steps", &StepReport::total_steps, "0: not known yet")
      .def_ro("loss", &StepReport::loss, "mean over what counts in the step's batches")
      .def_ro("rate", &StepReport::rate)
      .def_ro("gradient_norm", &StepReport::gradient_norm, "before clipping")
      .def_ro("tokens", &StepReport::tokens)
      .def_ro("tokens_per_second", &StepReport::tokens_per_second, "smoothed over about twenty steps")
      .def_ro("seconds", &StepReport::seconds, "spent so far, earlier runs included")
      .def_ro("seconds_left", &StepReport::seconds_left, "of training steps; 0: not known yet");
  nb::enum_<train::Ending>(m, "Ending", "Why a training ended.")
      .value("completed", train::Ending::completed)
      .value("out_of_patience", train::Ending::out_of_patience)
      .value("stopped", train::Ending::stopped, "it has not ended: there are steps left");
  nb::class_<TrainSummary>(m, "TrainSummary", "Where a training stands.")
      .def_ro("ending", &TrainSummary::ending)
      .def_ro("steps", &TrainSummary::steps)
      .def_ro("tokens", &TrainSummary::tokens)
      .def_ro("best_step", &TrainSummary::best_step, "0: none yet")
      .def_ro("best_score", &TrainSummary::best_score)
      .def_ro("seconds", &TrainSummary::seconds)
      .def_ro("last_loss", &TrainSummary::last_loss);
}

train::BestBy best_by(const std::string& metric) {
  if (metric.starts_with('-'))
    return {.metric = metric.substr(1), .direction = train::BestBy::Direction::lower};
  return {.metric = metric};
}

}  // namespace

void bind_trainer(nb::module_& m) {
  bind_results(m);
  nb::class_<PythonTrainer> c(
      m, "Trainer",
      "Trains a Task: a step is `micro_batches` micro-batches, their gradients summed in a fixed binary "
      "tree, "
      "the hooks, clipping, and an update. With a folder, a run that was killed and is made again with the "
      "same arguments goes on from its newest checkpoint and ends with the same bits.");
  refuse_pickling(c, "Trainer", "a folder, from which the same Trainer goes on");
  c.def(
       "__init__",
       [](PythonTrainer* self, nb::object task, train::Adam& optimizer,
          const std::optional<std::filesystem::path>& folder, std::int64_t steps, double minutes,
          const std::optional<train::Schedule>& schedule, std::int64_t micro_batches, std::int64_t accumulate,
          std::pair<std::int64_t, std::int64_t> part, double average_decay, std::int64_t log_every,
          std::int64_t evaluate_every, std::int64_t checkpoint_every, int keep,
          const std::optional<std::string>& best, std::int64_t patience, bool resume,
          std::vector<nb::object> hooks, nb::object on_step, nb::object on_evaluation) {
         train::TrainerOptions options;
         options.folder = folder.value_or("");
         options.steps = steps;
         options.minutes = minutes;
         options.schedule = schedule.value_or(train::Schedule{});
         options.micro_batches = micro_batches;
         options.accumulate = accumulate;
         options.part = {.index = part.first, .count = part.second};
         options.average_decay = average_decay;
         options.log_every = log_every;
         options.evaluate_every = evaluate_every;
         options.checkpoint_every = checkpoint_every;
         options.keep = keep;
         if (best) options.best_by = best_by(*best);
         options.patience = patience;
         options.resume = resume;
         train::TrainerCallbacks callbacks;
         for (nb::object& hook : hooks) callbacks.hooks.push_back(hook_of(std::move(hook)));
         callbacks.on_step = callback_of<const train::StepReport&>(std::move(on_step));
         if (!on_evaluation.is_none()) {
           callbacks.on_evaluation = [call = shared(std::move(on_evaluation))](
                                         std::int64_t step, const train::Evaluation& evaluation,
                                         bool best_so_far) {
             const nb::gil_scoped_acquire gil;
             (*call)(step, evaluation.score, evaluation.metrics, best_so_far);
           };
         }
         new (self) PythonTrainer(std::move(task), optimizer, options, callbacks);
       },
       "task"_a, "optimizer"_a, nb::kw_only(), "folder"_a = nb::none(), "steps"_a = 0, "minutes"_a = 0.0,
       "schedule"_a = nb::none(), "micro_batches"_a = 1, "accumulate"_a = 1,
       "part"_a = std::pair<std::int64_t, std::int64_t>(0, 1), "average_decay"_a = 0.0, "log_every"_a = 10,
       "evaluate_every"_a = 0, "checkpoint_every"_a = 0, "keep"_a = 3, "best_by"_a = nb::none(),
       "patience"_a = 0, "resume"_a = true, "hooks"_a = std::vector<nb::object>(), "on_step"_a = nb::none(),
       "on_evaluation"_a = nb::none(), nb::keep_alive<1, 3>(),
       "Args:\n    task: a headway.train.Task.\n    optimizer: an Adam over parameters of the task's model; "
       "those that it has frozen, or has not, get no gradient.\n"
       "    folder: of checkpoints, log.jsonl and curves.svg; None: none are written.\n"
       "    steps, minutes: the length of the training, or its time, turned into steps once.\n"
       "    schedule: its steps are the length of the training unless given.\n"
       "    micro_batches: of a step. Each draws its random numbers from a stream of its own where there are "
       "several.\n"
       "    accumulate: batches of a micro-batch, whose gradients are added up one by one.\n"
       "    part: (index, count): this process computes one of `count` equal parts of the micro-batches, and "
       "a hook sums loss and gradients of all.\n"
       "    average_decay: of an exponential average of the weights; 0: none.\n"
       "    log_every, evaluate_every, checkpoint_every: in steps; 0: only at the end.\n"
       "    keep: checkpoints kept beside the best.\n"
       "    best_by: a metric, the highest the best, or \"-\" and a metric, the lowest; None: the score.\n"
       "    patience: evaluations without a new best before the end; 0: any number.\n"
       "    hooks: called in order with StepGradients.\n"
       "    on_step: called with a StepReport.\n    on_evaluation: called with step, score, metrics, "
       "best.\n\n"
       "Raises:\n    Error: (value) for what is out of range, or a folder with a run of another identity.")
      .def("step", &PythonTrainer::step,
           "One step, with the evaluation and the checkpoint that fall due after it. False: the training has "
           "ended, and there was none.")
      .def("run", &PythonTrainer::run, "Steps until the end.")
      .def_prop_ro("summary", &PythonTrainer::summary);
}

}  // namespace headway::python
