#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <headway/core/factory.h>
#include <headway/io/safetensors.h>
#include <headway/nn/embedding.h>
#include <headway/nn/feed_forward.h>
#include <headway/nn/norm.h>
#include <headway/nn/positions.h>
#include <headway/nn/serialize.h>
#include <headway/ops/views.h>

#include "bindings.h"
#include "call.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

/// A module that Python composes: children and parameters are its attributes.
class Composite : public nn::Module {
 public:
  using nn::Module::add_child;
  using nn::Module::add_parameter;
  using nn::Module::generator;
};

nb::typed<nb::dict, std::string, Tensor> parameters_of(const nn::Module& module) {
  nb::dict out;
  for (const nn::NamedParameter& parameter : module.parameters())
    out[name_of_key(parameter.name)] = parameter.tensor;
  return out;
}

nb::typed<nb::dict, std::string, nb::any> state_of(const nn::Module& module) {
  nb::dict out;
  for (const nn::NamedParameter& parameter : module.parameters())
    out[name_of_key(parameter.name)] = to_numpy(parameter.tensor);
  return out;
}

// Floating types become the parameter's, as in files; everything is compared before the first element is
// written.
void load_state(nn::Module& module, const nb::typed<nb::dict, std::string, nb::any>& state) {
  std::vector<io::NamedTensor> target, source;
  for (const nn::NamedParameter& parameter : module.parameters())
    target.push_back({parameter.name, parameter.tensor});
  for (const auto& [key, value] : state) {
    const auto name = nb::cast<std::string>(nb::str(key));
    Tensor tensor = import_array("load_state_dict", name.c_str(), value).detach();
    for (const io::NamedTensor& entry : target) {
      if (entry.name == name && is_floating(tensor.dtype()) && is_floating(entry.tensor.dtype()))
        tensor = cast(tensor, entry.tensor.dtype());
    }
    source.push_back({name, contiguous(tensor)});
  }
  const nb::gil_scoped_release release;
  io::assign(target, source, "load_state_dict");
}

void bind_module(nb::module_& m) {
  using nn::Module;
  nb::class_<Module>(
      m, "NativeModule",
      "A part of a model: named parameters, named children, and whether it is training. What it is given it "
      "gives back: Tensors for Tensors, recorded for backward(); arrays for arrays, not recorded.")
      .def("parameters", &parameters_of, "All parameters below this module: name to Tensor.")
      .def_prop_ro("parameter_count", &Module::parameter_count, "Numbers in all parameters together.")
      .def("zero_grad", &Module::zero_grad, "Forgets the gradients of all parameters.")
      .def(
          "train", [](Module& self, Generator& generator) { self.train(generator); }, "generator"_a,
          nb::keep_alive<1, 2>(), "Training mode: dropout is active and draws from `generator`.")
      .def("eval", &Module::eval, "Evaluation mode, the initial one.")
      .def_prop_ro("training", &Module::training)
      .def_prop_ro(
          "_generator", [](const Module& self) { return (self.*&Composite::generator)(); },
          nb::rv_policy::none)
      .def("__copy__",
           [](const Module&) -> nb::object {
             fail(ErrorCode::unsupported, "copy",
                  "a module shares its parameters with no other; want copy.deepcopy()");
           })
      .def("state_dict", &state_of,
           "The parameters as NumPy arrays over the same bytes, read-only: name to array. load_state_dict() "
           "writes.")
      .def("load_state_dict", &load_state, "state"_a,
           "Copies arrays into the parameters of their names. Floating types are converted.\n\n"
           "Raises:\n    Error: (format) listing names that are missing, extra or of another shape; then "
           "nothing was "
           "changed.")
      .def(
          "save",
          [](const Module& self, const std::filesystem::path& path) {
            const nb::gil_scoped_release release;
            io::save(self, path);
          },
          "path"_a, "Writes every parameter under its name to a safetensors file, whole or not at all.")
      .def(
          "load",
          [](Module& self, const std::filesystem::path& path) {
            const nb::gil_scoped_release release;
            io::load(self, path);
          },
          "path"_a,
          "Reads a safetensors file back. Floating types are converted.\n\n"
          "Raises:\n    Error: (io) for a file that cannot be read, (format) listing names that are missing, "
          "extra or of "
          "another shape; then nothing was changed.");
  nb::class_<Composite, Module>(m, "Composite")
      .def(nb::init<>())
      .def(
          "_add_child",
          [](Composite& self, const std::string& name, Module& child) { self.add_child(name, child); },
          nb::keep_alive<1, 3>())
      .def("_add_parameter", [](Composite& self, const std::string& name, const Tensor& value) {
        return self.add_parameter(name, value);
      });
}

void bind_linear(nb::module_& m) {
  using nn::Linear;
  nb::enum_<Activation>(m, "Activation", "What follows a linear map, fused into it.")
      .value("none", Activation::none)
      .value("relu", Activation::relu)
      .value("gelu", Activation::gelu)
      .value("gelu_tanh", Activation::gelu_tanh)
      .value("silu", Activation::silu);
  nb::class_<Linear, nn::Module> c(
      m, "Linear",
      "act(x·Wᵀ + b), [..., inputs] to [..., outputs]. Weights start Xavier-uniform (Glorot & "
      "Bengio 2010, eq. 16), biases 0.");
  bind_options<Linear>(c, [](const Linear& self) {
    Options of;
    of["inputs"] = self.options().inputs;
    of["outputs"] = self.options().outputs;
    of["bias"] = self.options().bias;
    of["activation"] = self.options().activation;
    return of;
  });
  c.def(
       "__init__",
       [](Linear* self, std::int64_t inputs, std::int64_t outputs, bool bias, Activation activation,
          Generator& generator) {
         new (self) Linear({.inputs = inputs, .outputs = outputs, .bias = bias, .activation = activation},
                           generator);
       },
       "inputs"_a, "outputs"_a, nb::kw_only(), "bias"_a = true, "activation"_a = Activation::none,
       "generator"_a)
      .def(
          "__call__",
          [](const Linear& self, nb::handle x) {
            const Tensor in = import_array("Linear", "x", x);
            return run_like(x, [&] { return self(in); });
          },
          "x"_a)
      .def_prop_ro("weight", &Linear::weight, "[outputs, inputs]")
      .def_prop_ro(
          "bias", [](const Linear& self) { return optional(self.bias()); }, "[outputs], or None");
}

void bind_norm(nb::module_& m) {
  using nn::Norm;
  nb::enum_<nn::NormKind>(m, "NormKind", "Which normalization.")
      .value("layer", nn::NormKind::layer,
             "Ba et al. 2016: mean removed, divided by the deviation, scaled, shifted")
      .value("rms", nn::NormKind::rms,
             "Zhang & Sennrich 2019: divided by the root of the mean square, scaled");
  nb::class_<Norm, nn::Module> c(m, "Norm",
                                 "Normalization of the last dimension with learned scale (and shift).");
  bind_options<Norm>(c, [](const Norm& self) {
    Options of;
    of["width"] = self.options().width;
    of["kind"] = self.options().kind;
    of["eps"] = self.options().eps;
    return of;
  });
  c.def(
       "__init__",
       [](Norm* self, std::int64_t width, nn::NormKind kind, double eps) {
         new (self) Norm({.width = width, .kind = kind, .eps = eps});
       },
       "width"_a, nb::kw_only(), "kind"_a = nn::NormKind::layer, "eps"_a = 1e-5)
      .def(
          "__call__",
          [](const Norm& self, nb::handle x) {
            const Tensor in = import_array("Norm", "x", x);
            return run_like(x, [&] { return self(in).output; });
          },
          "x"_a, "[..., width] to the same.");
}

void bind_embedding(nb::module_& m) {
  using nn::Embedding;
  nb::class_<Embedding, nn::Module> c(
      m, "Embedding",
      "Rows for tokens. The table starts normal with deviation C^-½, so that it also serves, "
      "tied, as output projection.");
  bind_options<Embedding>(c, [](const Embedding& self) {
    Options of;
    of["vocabulary"] = self.options().vocabulary;
    of["width"] = self.options().width;
    of["scaled"] = self.options().scaled;
    of["output"] = self.options().output;
    return of;
  });
  c.def(
       "__init__",
       [](Embedding* self, std::int64_t vocabulary, std::int64_t width, bool scaled, DType output,
          Generator& generator) {
         new (self) Embedding({.vocabulary = vocabulary, .width = width, .scaled = scaled, .output = output},
                              generator);
       },
       "vocabulary"_a, "width"_a, nb::kw_only(), "scaled"_a = true, "output"_a = DType::float32,
       "generator"_a,
       "Args:\n    scaled: rows are multiplied by sqrt(width) (Vaswani 2017, section 3.4).\n"
       "    output: float32 or bfloat16, of the activations; the table stays float32.")
      .def(
          "__call__",
          [](const Embedding& self, nb::handle ids, nb::handle positions, nb::handle position_ids) {
            const Tensor in = import_array("Embedding", "ids", ids);
            const Tensor rows = import_optional("Embedding", "positions", positions);
            const Tensor places = import_optional("Embedding", "position_ids", position_ids);
            const nb::gil_scoped_release release;
            return self(in, rows, places);
          },
          "ids"_a, "positions"_a = nb::none(), "position_ids"_a = nb::none(),
          "ids [...] int32 to a Tensor [..., width]. With positions [P, width], row position_ids[i] of it is "
          "added to row i."
          "\n\nRaises:\n    Error: (value) for an id outside the vocabulary, naming its place.")
      .def_prop_ro("weight", &Embedding::weight, "[V, C]");
  m.def("sinusoidal_positions", &nn::sinusoidal_positions, "length"_a, "width"_a, "halves"_a = false,
        "[length, width]: column 2i is sin(p/10000^(2i/width)), column 2i + 1 the cosine of the same "
        "(Vaswani 2017, section "
        "3.5). halves: all sines before the cosines.");
  m.def("position_ids", &nn::position_ids, "offsets"_a,
        "The position of each row of a packed batch within its sequence: [N] int32.");
}

void bind_feed_forward(nb::module_& m) {
  using nn::FeedForward;
  using Kind = nn::FeedForwardKind;
  nb::enum_<Kind>(m, "FeedForwardKind", "Which position-wise network.")
      .value("relu", Kind::relu, "W₂·relu(W₁x + b₁) + b₂ (Vaswani 2017, eq. 2)")
      .value("gelu", Kind::gelu, "the same with GELU")
      .value("swiglu", Kind::swiglu, "W₂·(silu(W₃x) ∘ W₁x), without biases (Shazeer 2020)")
      .value("gelu_tanh", Kind::gelu_tanh, "as gelu, by tanh (Hendrycks & Gimpel 2016, section 2)")
      .value("silu", Kind::silu, "as relu, with x·sigmoid(x)")
      .value("geglu", Kind::geglu, "as swiglu, with GELU")
      .value("geglu_tanh", Kind::geglu_tanh, "as swiglu, with GELU by tanh")
      .value("reglu", Kind::reglu, "as swiglu, with relu")
      .value("quick_gelu", Kind::quick_gelu, "as relu, with x·sigmoid(1.702x)")
      .value("quick_geglu", Kind::quick_geglu, "as swiglu, with x·sigmoid(1.702x)")
      .value("relu2", Kind::relu2, "as relu, with its square (So et al. 2021)")
      .value("reglu2", Kind::reglu2, "as swiglu, with relu's square");
  nb::class_<FeedForward, nn::Module> c(m, "FeedForward",
                                        "The position-wise network of a block, [..., C] to [..., C].");
  bind_options<FeedForward>(c, [](const FeedForward& self) {
    Options of;
    of["model_dim"] = self.options().model_dim;
    of["hidden"] = self.options().hidden;
    of["kind"] = self.options().kind;
    of["dropout"] = self.options().dropout;
    return of;
  });
  c.def(
       "__init__",
       [](FeedForward* self, std::int64_t model_dim, std::int64_t hidden, Kind kind, double dropout,
          Generator& generator) {
         new (self) FeedForward({.model_dim = model_dim, .hidden = hidden, .kind = kind, .dropout = dropout},
                                generator);
       },
       "model_dim"_a, "hidden"_a, nb::kw_only(), "kind"_a = Kind::relu, "dropout"_a = 0.0, "generator"_a)
      .def(
          "__call__",
          [](const FeedForward& self, nb::handle x) {
            const Tensor in = import_array("FeedForward", "x", x);
            return run_like(x, [&] { return self(in); });
          },
          "x"_a);
}

}  // namespace

void bind_nn(nb::module_& m) {
  bind_module(m);
  bind_linear(m);
  bind_norm(m);
  bind_embedding(m);
  bind_feed_forward(m);
}

}  // namespace headway::python
