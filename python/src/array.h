#pragma once
#include <optional>
#include <string>

#include <nanobind/nanobind.h>

#include <headway/core/tensor.h>

/// Arrays of other libraries as Tensors over the same bytes, and back.
namespace headway::python {

namespace nb = nanobind;

/// "numpy.ndarray", for messages.
std::string spelled_type(nb::handle object);

/// A name as a key of a dict: whole, also where it has a NUL.
inline nb::str name_of_key(const std::string& name) { return nb::str(name.data(), name.size()); }

/// Any array that speaks DLPack or the buffer protocol, or a headway.Tensor, as a Tensor over the same bytes.
/// The array lives as long as the Tensor does. Nothing is copied; the elements may be read-only, and callers
/// must not write to them. Error(dtype), Error(unsupported) or Error(value) naming operation and argument for
/// what cannot be seen so.
Tensor import_array(const char* operation, const char* argument, nb::handle array);
/// The same, or an undefined Tensor for None.
Tensor import_optional(const char* operation, const char* argument, nb::handle array);

/// The Tensor, or nothing where it is undefined.
inline std::optional<Tensor> optional(const Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}

/// A Tensor as a NumPy array over the same bytes; bfloat16 by ml_dtypes' type. Read-only where the Tensor
/// takes a gradient: writing past it would leave converted weights and saved tensors as they were.
nb::object to_numpy(const Tensor& tensor);
/// A Tensor as what `like` is: NumPy's for NumPy's, a DLPack capsule for a capsule, by from_dlpack() of the
/// library that made it for others, and a headway.Tensor for those or where no such function is known. None
/// for an undefined Tensor.
nb::object export_like(const Tensor& tensor, nb::handle like);
/// True for headway.Tensor, whose results belong on the tape.
bool is_tensor(nb::handle array);
/// A DLPack capsule, versioned where the consumer takes it.
nb::object to_capsule(const Tensor& tensor, bool versioned);

}  // namespace headway::python
