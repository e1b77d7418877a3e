#include <headway/core/tensor.h>

#include <list>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/operators.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "array.h"
#include "bindings.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using Sizes = std::vector<std::int64_t>;
Shape shape_of(const Sizes& sizes) { return Shape(std::span<const std::int64_t>(sizes)); }

nb::typed<nb::tuple, int, nb::ellipsis> tuple_of(const Shape& shape) {
  nb::list out;
  for (const std::int64_t size : shape) out.append(size);
  return nb::tuple(out);
}

// A copy that is nobody else's: what a parameter may be made of.
Tensor copied(nb::handle array, std::optional<DType> dtype) {
  const Tensor source = import_array("tensor", "data", array);
  const nb::gil_scoped_release release;
  const Tensor out = Tensor::empty(source.shape(), dtype.value_or(source.dtype()));
  copy_into(out, source.detach());
  return out;
}

Tensor shared(nb::handle array) {
  if (nb::hasattr(array, "flags") && nb::hasattr(array.attr("flags"), "writeable") &&
      !nb::cast<bool>(array.attr("flags").attr("writeable"))) {
    fail(ErrorCode::value, "from_dlpack",
         "the array is read-only; want a writable one, or a copy by tensor()");
  }
  return import_array("from_dlpack", "data", array);
}

nb::object item(const Tensor& x) {
  switch (x.dtype()) {
    case DType::float32:
      return nb::float_(static_cast<double>(x.item<float>()));
    case DType::float64:
      return nb::float_(x.item<double>());
    case DType::bfloat16:
      return nb::float_(static_cast<double>(static_cast<float>(x.item<bfloat16>())));
    case DType::float16:
      return nb::float_(static_cast<double>(static_cast<float>(x.item<float16>())));
    case DType::int32:
      return nb::int_(x.item<std::int32_t>());
    case DType::int64:
      return nb::int_(x.item<std::int64_t>());
    case DType::boolean:
      return nb::bool_(x.item<bool>());
  }
  return nb::none();
}

void backward(const Tensor& self, nb::handle seed) {
  const Tensor gradient = import_optional("backward", "seed", seed);
  const nb::gil_scoped_release release;
  self.backward(gradient);
}

/// `with no_grad():`; one object may be entered again, and within itself.
class NoGradBlock {
 public:
  NoGradBlock() = default;
  NoGradBlock(const NoGradBlock&) = delete;
  NoGradBlock& operator=(const NoGradBlock&) = delete;
  void enter() { held_.emplace_back(); }
  void leave() {
    if (!held_.empty()) held_.pop_back();
  }

 private:
  std::list<NoGrad> held_;
};

void bind_class(nb::module_& m) {
  nb::class_<Tensor>(m, "Tensor",
                     "A strided array in the processor's memory whose operations are recorded for "
                     "backward(). It speaks DLPack and "
                     "NumPy's array protocol, so numpy.asarray(x), torch.from_dlpack(x) and their like see "
                     "its elements without a copy. "
                     "A copy of the Python object is another handle to the same elements and gradient.")
      .def_prop_ro("shape", [](const Tensor& x) { return tuple_of(x.shape()); })
      .def_prop_ro(
          "strides", [](const Tensor& x) { return tuple_of(x.strides()); }, "In elements.")
      .def_prop_ro("ndim", &Tensor::rank)
      .def_prop_ro("dtype", &Tensor::dtype)
      .def_prop_ro("requires_grad", &Tensor::requires_grad,
                   "True when a backward pass will reach this tensor.")
      .def_prop_ro(
          "grad", [](const Tensor& x) { return optional(x.grad()); },
          "The gradient accumulated in a leaf by backward(); None before.")
      .def(
          "require_grad", [](const Tensor& x) { return require_grad(x); },
          "Makes a leaf: backward() will leave its gradient in grad. Returns the tensor.\n\n"
          "Raises:\n    Error: (dtype) for elements that are not floating.")
      .def(
          "zero_grad", [](const Tensor& x) { x.set_grad({}); }, "Forgets the gradient.")
      .def("backward", &backward, "seed"_a = nb::none(),
           "Walks the tape back from here and adds the gradients of all leaves to their grad.\n\n"
           "Args:\n    seed: the gradient of the result with respect to this tensor, of its shape; may be "
           "left out "
           "for a tensor of one element (then 1).")
      .def(
          "assign",
          [](const Tensor& self, nb::handle values) {
            const Tensor source = import_array("assign", "values", values).detach();
            const nb::gil_scoped_release release;
            copy_into(self, source);
          },
          "values"_a,
          "Copies the elements of an array of the same shape into this tensor, converting; not recorded.")
      .def("detach", &Tensor::detach, "The same elements, outside the tape.")
      .def("numpy", &to_numpy,
           "The elements as a NumPy array, without a copy; read-only where the tensor takes a gradient "
           "(assign() writes). "
           "bfloat16 wants ml_dtypes.\n\n"
           "Raises:\n    Error: (unsupported) for bfloat16 without ml_dtypes.")
      .def("item", &item,
           "The only element, as a Python number.\n\nRaises:\n    Error: (shape) when there are more.")
      .def(
          "__dlpack__",
          [](const Tensor& x, nb::handle, std::optional<std::pair<int, int>> max_version, nb::handle,
             nb::handle) { return to_capsule(x, max_version && max_version->first >= 1); },
          nb::kw_only(), "stream"_a = nb::none(), "max_version"_a = nb::none(), "dl_device"_a = nb::none(),
          "copy"_a = nb::none())
      .def("__dlpack_device__",
           [](const Tensor&) -> nb::typed<nb::tuple, int, int> { return nb::make_tuple(1, 0); })
      .def(
          "__array__",
          [](const Tensor& x, nb::handle dtype, nb::handle copy) {
            const nb::object array = to_numpy(x.detach());
            if (!dtype.is_none()) return nb::object(array.attr("astype")(dtype));
            return !copy.is_none() && nb::cast<bool>(copy) ? nb::object(array.attr("copy")()) : array;
          },
          "dtype"_a = nb::none(), "copy"_a = nb::none())
      .def("__len__", [](const Tensor& x) { return x.size(0); })
      .def("__getstate__", &leaf_of)
      .def("__setstate__", [](Tensor& self, nb::handle leaf) { new (&self) Tensor(tensor_of(leaf)); })
      .def("__repr__",
           [](const Tensor& x) {
             return fmt::format("Tensor({}{})", x.describe(), x.requires_grad() ? ", requires_grad" : "");
           })
      .def(
          "reshape", [](const Tensor& x, const Sizes& shape) { return reshape(x, shape_of(shape)); },
          "shape"_a,
          "The same elements in row-major order under another shape; one dimension may be -1. Copies only "
          "when the "
          "strides cannot express it.")
      .def("transpose", &transpose, "a"_a, "b"_a, "Swaps two dimensions; a view.")
      .def("slice", &slice, "dim"_a, "begin"_a, "end"_a, "Elements begin … end - 1 of a dimension; a view.")
      .def("cast", &cast, "dtype"_a, "Another dtype; the tensor itself when it has it already.")
      .def(
          "sum", [](const Tensor& x) { return sum(x); }, "The sum of all elements, of rank 0.")
      .def(
          "__add__", [](const Tensor& a, const Tensor& b) { return add(a, b); }, nb::is_operator())
      .def(
          "__mul__", [](const Tensor& a, const Tensor& b) { return mul(a, b); }, nb::is_operator())
      .def(
          "__mul__", [](const Tensor& a, double b) { return scale(a, b); }, nb::is_operator())
      .def(
          "__rmul__", [](const Tensor& a, double b) { return scale(a, b); }, nb::is_operator())
      .def("__neg__", [](const Tensor& a) { return scale(a, -1); })
      .def(
          "__sub__", [](const Tensor& a, const Tensor& b) { return add(a, scale(b, -1)); }, nb::is_operator())
      .def(
          "__matmul__", [](const Tensor& a, const Tensor& b) { return matmul(a, b); }, nb::is_operator());
}

}  // namespace

void bind_tensor(nb::module_& m) {
  bind_class(m);
  m.def("tensor", &copied, "data"_a, "dtype"_a = nb::none(),
        "A tensor of one's own: the array's elements, copied, converted where a dtype is given.\n\n"
        "Args:\n    data: any array.\n    dtype: DType of the result; the array's unless given.\n\n"
        "Raises:\n    Error: (dtype) for elements that no DType names.");
  m.def("from_dlpack", &shared, "data"_a,
        "A tensor over the array's own bytes: writing to one writes to the other.\n\n"
        "Raises:\n    Error: (value) for a read-only array, (dtype) for elements that no DType names.");
  m.def(
      "zeros", [](const Sizes& shape, DType dtype) { return zeros(shape_of(shape), dtype); }, "shape"_a,
      "dtype"_a = DType::float32, "Zeros.");
  m.def(
      "randn",
      [](const Sizes& shape, Generator& generator, DType dtype) {
        return randn(shape_of(shape), generator, dtype);
      },
      "shape"_a, "generator"_a, "dtype"_a = DType::float32,
      "Normal numbers of mean 0 and deviation 1; one call of the generator.");

  nb::class_<NoGradBlock>(m, "no_grad", "with no_grad(): nothing in the block is recorded for backward().")
      .def(nb::init<>())
      .def("__enter__", &NoGradBlock::enter)
      .def("__exit__", [](NoGradBlock& self, const nb::args&) { self.leave(); });
}

}  // namespace headway::python
