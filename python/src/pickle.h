#pragma once
#include <string>
#include <tuple>
#include <type_traits>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <headway/core/generator.h>
#include <headway/core/tensor.h>
#include <headway/nn/norm.h>

/// copy.deepcopy() and pickle. Handles of one Tensor, in whatever objects they are, stay handles of one.
namespace headway::python {

namespace nb = nanobind;

using Options = nb::typed<nb::dict, std::string, nb::any>;

/// What all handles of one Tensor are pickled as, so that the copying program, which knows Python's objects
/// alone, sees that they are one.
nb::object leaf_of(const Tensor& tensor);
/// The Tensor of a leaf that leaf_of() gave, or that was restored from one.
Tensor tensor_of(nb::handle leaf);

/// Options, leaves of the parameters by name, generator or None, attributes or None.
using ModuleState = std::tuple<Options, nb::dict, nb::object, nb::object>;
ModuleState state_of_module(nb::handle self, const Options& options);
void restore_module(nb::handle self, const ModuleState& state);

/// Gives a class of modules the property `options`, the keywords of its constructor, and with it
/// copy.deepcopy() and pickle.
template <typename M, typename... Extra>
void bind_options(nb::class_<M, Extra...>& c, Options (*options)(const M&)) {
  c.def_prop_ro("options", options, "The keywords of its constructor, without the generator.")
      .def("__getstate__",
           [options](nb::handle self) { return state_of_module(self, options(nb::cast<const M&>(self))); })
      .def("__setstate__", [](nb::handle self, const ModuleState& state) {
        Options keywords = std::get<0>(state);
        if constexpr (!std::is_same_v<M, nn::Norm>) keywords["generator"] = nb::cast(Generator());
        nb::type<M>().attr("__init__")(self, **keywords);
        restore_module(self, state);
      });
}

/// Copies of an immutable value are the value.
template <typename T, typename... Extra>
void bind_as_value(nb::class_<T, Extra...>& c) {
  c.def("__copy__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__deepcopy__", [](nb::handle self, nb::handle) { return nb::borrow(self); }, nb::arg("memo"));
}

/// pickle and copy.deepcopy() of it are an Error(unsupported) that says what to do instead.
template <typename T, typename... Extra>
void refuse_pickling(nb::class_<T, Extra...>& c, const char* name, const char* instead) {
  c.def("__getstate__", [name, instead](const T&) -> nb::object {
    fail(ErrorCode::unsupported, name, std::string("it cannot be pickled; want ") + instead);
  });
}

}  // namespace headway::python
