#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <headway/inspect/picture.h>
#include <headway/inspect/similarity.h>
#include <headway/io/safetensors.h>

#include "array.h"
#include "bindings.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using Metadata = std::map<std::string, std::string>;

nb::typed<nb::tuple, nb::typed<nb::dict, std::string, nb::any>, Metadata> load(
    const std::filesystem::path& path) {
  io::SafeTensors file;
  {
    const nb::gil_scoped_release release;
    file = io::load_safetensors(path);
  }
  nb::dict tensors;
  for (const io::NamedTensor& entry : file.tensors) tensors[name_of_key(entry.name)] = to_numpy(entry.tensor);
  return nb::make_tuple(tensors, file.metadata);
}

void save(const std::filesystem::path& path, const nb::typed<nb::dict, std::string, nb::any>& arrays,
          const Metadata& metadata) {
  std::vector<io::NamedTensor> tensors;
  for (const auto& [name, value] : arrays) {
    const auto key = nb::cast<std::string>(nb::str(name));
    tensors.push_back({key, import_array("save_safetensors", key.c_str(), value)});
  }
  const nb::gil_scoped_release release;
  io::save_safetensors(path, tensors, metadata);
}

}  // namespace

void bind_io(nb::module_& m) {
  m.def("load_safetensors", &load, "path"_a,
        "The arrays of a safetensors file by name, and its metadata. Everything is checked before the first "
        "array is made."
        "\n\nRaises:\n    Error: (format) naming the file, the array and what is wrong; (io) when it cannot "
        "be read; "
        "(unsupported) for bfloat16 without ml_dtypes.");
  m.def("save_safetensors", &save, "path"_a, "arrays"_a, "metadata"_a = Metadata{},
        "Writes arrays, of any kind and any strides, to a safetensors file, whole or not at all.");

  m.def(
      "head_picture",
      [](nb::handle weights, std::string title, std::vector<std::string> rows,
         std::vector<std::string> columns) {
        return inspect::head_picture(
            import_array("head_picture", "weights", weights),
            {.title = std::move(title), .rows = std::move(rows), .columns = std::move(columns)});
      },
      "weights"_a, nb::kw_only(), "title"_a = "", "rows"_a, "columns"_a,
      "One head's weights [T, S] float32 as an SVG picture: the larger a weight, the darker its cell. rows: "
      "who looks, [T]; "
      "columns: at whom, [S].\n\nRaises:\n    Error: (shape) when labels and weights do not fit.");
  m.def(
      "head_divergence",
      [](nb::handle weights) {
        return inspect::head_divergence(import_array("head_divergence", "weights", weights));
      },
      "weights"_a,
      "How much heads differ in what they look at: the Jensen-Shannon divergence (base 2) of two heads' "
      "weights for the same "
      "query, averaged over queries and pairs of heads; 0: all look at the same, 1: never. weights [H, T, S] "
      "or [B, H, T, "
      "S] float32.");
}

}  // namespace headway::python
