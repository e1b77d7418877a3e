#include "pickle.h"

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <headway/autograd/tape.h>
#include <headway/nn/module.h>
#include <headway/ops/views.h>

#include "array.h"
#include "bindings.h"

namespace headway::python {

namespace {

// The elements of a Tensor on their way into a copy. What was restored is not a Tensor until someone asks, so
// that a module may say first which of its parameters it is.
class Leaf {
 public:
  explicit Leaf(Tensor tensor) : tensor_(std::move(tensor)), key_(tensor_.gradient_state()) {
    if (key_) living()[key_.get()] = this;
  }
  Leaf(nb::object array, bool requires_grad) : array_(std::move(array)), requires_grad_(requires_grad) {}
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;
  ~Leaf() {
    if (key_) living().erase(key_.get());
  }

  // The leaf of each Tensor that takes a gradient, while a copy is being made.
  static std::unordered_map<const core::GradientState*, Leaf*>& living() {
    static auto& leaves = *new std::unordered_map<const core::GradientState*, Leaf*>();
    return leaves;
  }

  nb::object array() const { return array_.is_valid() ? array_ : to_numpy(tensor_); }
  bool requires_grad() const { return key_ || requires_grad_; }

  const Tensor& tensor() {
    if (!tensor_.defined()) {
      const Tensor elements = import_array("Tensor", "the pickled array", array_);
      tensor_ = Tensor::empty(elements.shape(), elements.dtype());
      copy_into(tensor_, elements);
      if (requires_grad_) require_grad(tensor_);
    }
    return tensor_;
  }

  void become(const std::string& name, const Tensor& parameter) {
    if (tensor_.defined()) {
      fail(ErrorCode::unsupported, "copy",
           fmt::format("a Tensor that is the parameter {} of a module was copied before the module; want the "
                       "module first",
                       name));
    }
    tensor_ = parameter;
  }

 private:
  Tensor tensor_;
  std::shared_ptr<core::GradientState> key_;
  nb::object array_;
  bool requires_grad_ = false;
};

}  // namespace

nb::object leaf_of(const Tensor& tensor) {
  if (!autograd::is_leaf(tensor)) {
    fail(ErrorCode::unsupported, "Tensor",
         fmt::format("a result on the tape, {}, cannot be copied or pickled; want detach()",
                     tensor.describe()));
  }
  if (tensor.requires_grad()) {
    const auto at = Leaf::living().find(tensor.gradient_state().get());
    if (at != Leaf::living().end()) return nb::find(*at->second);
  }
  return nb::cast(new Leaf(tensor), nb::rv_policy::take_ownership);
}

Tensor tensor_of(nb::handle leaf) { return nb::cast<Leaf&>(leaf).tensor(); }

ModuleState state_of_module(nb::handle self, const Options& options) {
  nb::dict leaves;
  for (const nn::NamedParameter& parameter : nb::cast<const nn::Module&>(self).parameters())
    leaves[name_of_key(parameter.name)] = leaf_of(parameter.tensor);
  return {options, leaves, self.attr("_generator"), nb::getattr(self, "__dict__", nb::none())};
}

void restore_module(nb::handle self, const ModuleState& state) {
  const auto& [options, leaves, generator, attributes] = state;
  nb::dict arrays;
  for (const auto& [name, leaf] : leaves) arrays[name] = nb::cast<const Leaf&>(leaf).array();
  const nb::handle native = nb::type<nn::Module>();
  native.attr("load_state_dict")(self, arrays);
  for (const nn::NamedParameter& parameter : nb::cast<const nn::Module&>(self).parameters())
    nb::cast<Leaf&>(leaves[name_of_key(parameter.name)]).become(parameter.name, parameter.tensor);
  if (!generator.is_none()) native.attr("train")(self, generator);
  if (!attributes.is_none()) self.attr("__dict__").attr("update")(attributes);
}

void bind_pickle(nb::module_& m) {
  nb::class_<Leaf>(m, "_Leaf")
      .def("__getstate__",
           [](const Leaf& self) { return std::make_pair(self.array(), self.requires_grad()); })
      .def("__setstate__", [](Leaf& self, const std::pair<nb::object, bool>& state) {
        new (&self) Leaf(state.first, state.second);
      });
}

}  // namespace headway::python
