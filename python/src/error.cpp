#include <headway/core/error.h>

#include <exception>
#include <new>
#include <stdexcept>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include "bindings.h"

namespace headway::python {

namespace nb = nanobind;

namespace {

// headway.Error; never released, since the interpreter may be gone before statics are.
PyObject* type = nullptr;

void raise(const Error& error) {
  const nb::object value = nb::borrow(type)(error.what(), name_of(error.code()), error.operation());
  PyErr_SetObject(type, value.ptr());
}

}  // namespace

void bind_error() {
  type = nb::object(nb::module_::import_("headway._error").attr("Error")).release().ptr();
  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void*) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& error) {
          raise(error);
        } catch (const std::bad_alloc&) {
          raise(Error(ErrorCode::memory, "headway", "there is not enough memory for the call's own lists"));
        } catch (const std::length_error&) {
          raise(Error(ErrorCode::memory, "headway", "the call's own lists are longer than any memory"));
        }
      },
      nullptr);
}

}  // namespace headway::python
