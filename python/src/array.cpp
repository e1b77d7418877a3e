#include "array.h"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <headway/ops/views.h>

namespace headway::python {
namespace {

using AnyArray = nb::ndarray<nb::ro>;
using Code = nb::dlpack::dtype_code;

struct Known {
  Code code;
  int bits;
  DType dtype;
};
constexpr std::array kKnown = {
    Known{Code::Float, 32, DType::float32},   Known{Code::Float, 64, DType::float64},
    Known{Code::Bfloat, 16, DType::bfloat16}, Known{Code::Float, 16, DType::float16},
    Known{Code::Int, 32, DType::int32},       Known{Code::Int, 64, DType::int64},
    Known{Code::Bool, 8, DType::boolean}};

nb::dlpack::dtype dlpack_of(DType dtype) {
  for (const Known& known : kKnown) {
    if (known.dtype == dtype)
      return {static_cast<std::uint8_t>(known.code), static_cast<std::uint8_t>(known.bits), 1};
  }
  fail(ErrorCode::internal, "array", "a dtype without a DLPack code");
}

// Imported once, on first use; never released, since the interpreter may be gone before statics are.
nb::handle numpy() {
  static const nb::object* const module = new nb::object(nb::module_::import_("numpy"));
  return *module;
}
nb::handle numpy_array() {
  static const nb::object* const type = new nb::object(numpy().attr("ndarray"));
  return *type;
}
bool is_numpy(nb::handle object) {
  return PyObject_TypeCheck(object.ptr(), reinterpret_cast<PyTypeObject*>(numpy_array().ptr()));
}

// The package that an object's type comes from.
nb::object library_of(nb::handle object) {
  const auto module = nb::cast<std::string>(object.type().attr("__module__"));
  return nb::module_::import_("sys").attr("modules").attr("get")(module.substr(0, module.find('.')),
                                                                 nb::none());
}

// PyTorch, where the object is a tensor of it, of a subclass from anywhere too; else nothing.
std::optional<nb::object> torch_of(nb::handle object) {
  const nb::object torch = nb::module_::import_("sys").attr("modules").attr("get")("torch", nb::none());
  if (torch.is_none() || !nb::hasattr(torch, "Tensor") || !nb::isinstance(object, torch.attr("Tensor")))
    return std::nullopt;
  return torch;
}

std::string dtype_name(nb::handle array) {
  nb::object dtype = nb::getattr(array, "dtype", nb::none());
  return nb::cast<std::string>(nb::str(nb::getattr(dtype, "name", dtype)));
}

// Why an array does not export itself, in its library's words.
std::string refusal(nb::handle array) {
  if (!nb::hasattr(array, "__dlpack__")) return "";
  try {
    (void)array.attr("__dlpack__")();
  } catch (nb::python_error& error) {
    return fmt::format(" (it says: {})", nb::cast<std::string>(nb::str(error.value())));
  }
  return "";
}

[[noreturn]] void refuse(const char* operation, const char* argument, nb::handle array) {
  if (nb::hasattr(array, "dtype")) {
    const std::string dtype = dtype_name(array);
    fail(ErrorCode::dtype, operation,
         fmt::format(
             "{} is a {} of {}; want float32, float64, bfloat16, float16, int32, int64 or bool, in this "
             "machine's byte order, with strides of whole elements{}",
             argument, spelled_type(array), dtype, refusal(array)));
  }
  fail(ErrorCode::value, operation,
       fmt::format("{} is a {}; want an array: NumPy's, or any that speaks DLPack or the buffer protocol{}",
                   argument, spelled_type(array), refusal(array)));
}

struct Imported {
  AnyArray array;
  DType dtype;
};

// A gradient that another library would want of the result would be lost without a word.
void refuse_foreign_tape(const char* operation, const char* argument, nb::handle object) {
  const nb::object wants = nb::getattr(object, "requires_grad", nb::none());
  if (wants.ptr() != Py_True) return;
  const nb::object library = torch_of(object).value_or(library_of(object));
  if (nb::hasattr(library, "is_grad_enabled") && !nb::cast<bool>(library.attr("is_grad_enabled")())) return;
  fail(ErrorCode::unsupported, operation,
       fmt::format(
           "{} is a {} that requires a gradient, of which this call knows nothing; want detach() of it",
           argument, spelled_type(object)));
}

// Nor a tangent of forward-mode differentiation.
void refuse_foreign_tangent(const char* operation, const char* argument, nb::handle object,
                            const nb::object& torch) {
  const nb::object forward = torch.attr("autograd").attr("forward_ad");
  if (nb::cast<int>(nb::getattr(forward, "_current_level", nb::int_(-1))) < 0) return;
  if (forward.attr("unpack_dual")(object).attr("tangent").is_none()) return;
  fail(ErrorCode::unsupported, operation,
       fmt::format(
           "{} is a {} with a tangent (forward-mode differentiation), of which this call knows nothing; "
           "want its primal",
           argument, spelled_type(object)));
}

// PyTorch marks tensors as negated, conjugated or zero in place of writing their bytes; DLPack has no word
// for it.
nb::object written_out(nb::object x) {
  if (nb::cast<bool>(x.attr("is_conj")())) x = x.attr("resolve_conj")();
  if (nb::cast<bool>(x.attr("is_neg")())) x = x.attr("resolve_neg")();
  if (nb::cast<bool>(x.attr("_is_zerotensor")())) x = x.attr("clone")();
  return x;
}

Imported read(const char* operation, const char* argument, nb::handle given) {
  AnyArray array;
  nb::object object = nb::borrow(given);
  if (!is_numpy(object) && !PyCapsule_CheckExact(object.ptr())) {
    refuse_foreign_tape(operation, argument, object);
    if (const auto torch = torch_of(object)) {
      refuse_foreign_tangent(operation, argument, object, *torch);
      object = written_out(object);
    }
  }
  if (nb::try_cast(object, array, false)) {
    for (const Known& known : kKnown) {
      if (array.dtype() == dlpack_of(known.dtype)) return {std::move(array), known.dtype};
    }
  } else if (is_numpy(object) && dtype_name(object) == "bfloat16") {
    // NumPy knows bfloat16 from ml_dtypes alone and exports it in no way: its bits go instead.
    const nb::object bits = object.attr("view")(numpy().attr("uint16"));
    if (nb::try_cast(bits, array, false)) return {std::move(array), DType::bfloat16};
  }
  refuse(operation, argument, object);
}

// Elements from the first that is named to the last, relative to the array's first.
struct Extent {
  std::int64_t least = 0, most = 0;
};

Extent extent_of(const char* operation, const char* argument, const AnyArray& array) {
  Extent extent;
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    std::int64_t span = 0;
    std::int64_t& end = array.stride(i) < 0 ? extent.least : extent.most;
    if (__builtin_mul_overflow(static_cast<std::int64_t>(array.shape(i)) - 1, array.stride(i), &span) ||
        __builtin_add_overflow(end, span, &end)) {
      fail(ErrorCode::shape, operation, fmt::format("{} has more elements than 64 bits count", argument));
    }
  }
  return extent;
}

}  // namespace

std::string spelled_type(nb::handle object) {
  const nb::handle type = object.type();
  const auto name = nb::cast<std::string>(type.attr("__qualname__"));
  const auto module = nb::cast<std::string>(type.attr("__module__"));
  return module == "builtins" ? name : module + "." + name;
}

bool is_tensor(nb::handle array) { return nb::isinstance<Tensor>(array); }

Tensor import_array(const char* operation, const char* argument, nb::handle object) {
  if (is_tensor(object)) return nb::cast<Tensor>(object);
  auto [array, dtype] = read(operation, argument, object);
  if (array.device_type() != nb::device::cpu::value) {
    fail(ErrorCode::unsupported, operation,
         fmt::format("{} is a {} on another device; want it in the processor's memory", argument,
                     spelled_type(object)));
  }
  if (array.ndim() > Shape::max_rank) {
    fail(ErrorCode::shape, operation,
         fmt::format("{} has {} dimensions; want at most {}", argument, array.ndim(), Shape::max_rank));
  }
  auto* data = static_cast<char*>(const_cast<void*>(array.data()));
  const std::size_t width = size_of(dtype);
  if (reinterpret_cast<std::uintptr_t>(data) % width != 0) {
    fail(ErrorCode::unsupported, operation,
         fmt::format(
             "{} begins at an address that is no multiple of its elements' {} bytes; want a copy of it",
             argument, width));
  }
  Shape shape;
  Strides strides;
  bool empty = false;
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(static_cast<std::int64_t>(array.shape(i)));
    strides.push_back(array.stride(i));
    empty = empty || array.shape(i) == 0;
  }
  if (!data && !empty) {
    fail(ErrorCode::unsupported, operation,
         fmt::format("{} is a {} without memory of its own; want one whose elements are there", argument,
                     spelled_type(object)));
  }
  const Extent extent = empty ? Extent{} : extent_of(operation, argument, array);
  std::shared_ptr<void> owner(new AnyArray(std::move(array)), [](void* kept) {
    const nb::gil_scoped_acquire gil;  // the last handle may fall anywhere
    delete static_cast<AnyArray*>(kept);
  });
  if (empty) return Tensor::wrap(data, shape, dtype, std::move(owner));
  const Tensor all = Tensor::wrap(data + extent.least * static_cast<std::int64_t>(width),
                                  {extent.most - extent.least + 1}, dtype, std::move(owner));
  (void)shape.numel();  // throws where the elements, repeated by strides of 0, are more than 64 bits count
  return all.strided(shape, strides, -extent.least);
}

Tensor import_optional(const char* operation, const char* argument, nb::handle array) {
  return array.is_none() ? Tensor() : import_array(operation, argument, array);
}

namespace {

struct Layout {
  std::array<std::size_t, Shape::max_rank> shape{};
  std::array<std::int64_t, Shape::max_rank> strides{};
  explicit Layout(const Tensor& tensor) {
    for (int i = 0; i < tensor.rank(); ++i) {
      shape[static_cast<std::size_t>(i)] = static_cast<std::size_t>(tensor.size(i));
      strides[static_cast<std::size_t>(i)] = tensor.stride(i);
    }
  }
};

template <typename Framework>
nb::object view_of(const Tensor& tensor, nb::dlpack::dtype dtype) {
  const Layout layout(tensor);
  const nb::capsule owner(new Tensor(tensor), [](void* kept) noexcept { delete static_cast<Tensor*>(kept); });
  return nb::cast(nb::ndarray<Framework>(tensor.raw(), static_cast<std::size_t>(tensor.rank()),
                                         layout.shape.data(), owner, layout.strides.data(), dtype,
                                         nb::device::cpu::value, 0));
}

nb::object frozen(nb::object array) {
  array.attr("flags").attr("writeable") = false;
  return array;
}

nb::object bfloat16_type() {
  try {
    return nb::module_::import_("ml_dtypes").attr("bfloat16");
  } catch (nb::python_error&) {
    fail(ErrorCode::unsupported, "numpy", "NumPy has bfloat16 from ml_dtypes alone, which is not installed");
  }
}

nb::object to_numpy_of(const Tensor& tensor, nb::handle bfloat16_dtype) {
  if (tensor.requires_grad()) return frozen(to_numpy_of(tensor.detach(), bfloat16_dtype));
  if (tensor.dtype() != DType::bfloat16) return view_of<nb::numpy>(tensor, dlpack_of(tensor.dtype()));
  const nb::dlpack::dtype bits{static_cast<std::uint8_t>(Code::UInt), 16, 1};
  return view_of<nb::numpy>(tensor, bits).attr("view")(bfloat16_dtype);
}

// The library that made an array, where it says so: the array API's namespace, else its package.
nb::object importer(nb::handle like) {
  if (nb::hasattr(like, "__array_namespace__"))
    return nb::getattr(like.attr("__array_namespace__")(), "from_dlpack", nb::none());
  return nb::getattr(torch_of(like).value_or(library_of(like)), "from_dlpack", nb::none());
}

}  // namespace

nb::object to_numpy(const Tensor& tensor) {
  return to_numpy_of(tensor, tensor.dtype() == DType::bfloat16 ? bfloat16_type() : nb::none());
}

nb::object to_capsule(const Tensor& tensor, bool versioned) {
  const nb::object array = view_of<nb::array_api>(tensor, dlpack_of(tensor.dtype()));
  if (versioned) return array.attr("__dlpack__")(nb::arg("max_version") = nb::make_tuple(1, 0));
  return array.attr("__dlpack__")();
}

nb::object export_like(const Tensor& tensor, nb::handle like) {
  if (!tensor.defined()) return nb::none();
  if (is_tensor(like)) return nb::cast(tensor);
  if (PyCapsule_CheckExact(like.ptr())) return to_capsule(tensor, false);
  if (is_numpy(like)) {
    if (tensor.dtype() != DType::bfloat16) return to_numpy(tensor);
    const nb::object dtype = like.attr("dtype");
    return to_numpy_of(tensor, dtype_name(like) == "bfloat16" ? dtype : bfloat16_type());
  }
  if (!nb::hasattr(like, "__dlpack__")) return to_numpy(tensor);  // spoke the buffer protocol
  const nb::object from_dlpack = importer(like);
  const nb::object own = nb::cast(tensor);
  return from_dlpack.is_none() ? own : from_dlpack(own);
}

}  // namespace headway::python
