#include <headway/attention/position.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "array.h"
#include "bindings.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

Tensor learned(const char* argument, nb::handle array) {
  return import_optional("Position", argument, array);
}

// The function that makes it, and its keywords.
std::pair<std::string, Options> recipe(const Position& self) {
  Options of;
  if (self.rotates()) {
    const RopeOptions& rope = self.rope_options();
    of["base"] = rope.base;
    of["dims"] = rope.dims;
    of["pairs"] = rope.pairs;
    of["scaling"] = rope.scaling;
    return {"rope", of};
  }
  if (self.table().defined()) {
    of["table"] = self.table();
    of["bidirectional"] = self.t5_options().bidirectional;
    of["max_distance"] = self.t5_options().max_distance;
    return {"t5", of};
  }
  if (self.content_bias().defined()) {
    of["relative"] = self.key_vectors().rows;
    of["content_bias"] = self.content_bias();
    of["position_bias"] = self.position_bias();
    of["least_offset"] = self.key_vectors().least;
    return {"transformer_xl", of};
  }
  if (self.relative()) {
    of["keys"] = self.key_vectors().rows;
    of["values"] = optional(self.value_vectors().rows);
    return {"shaw", of};
  }
  of["slopes"] = self.slopes().empty() ? nb::none() : nb::cast(self.slopes());
  return {"alibi", of};
}

}  // namespace

void bind_position(nb::module_& m) {
  nb::enum_<RopePairs>(m, "RopePairs", "Which two columns of a head make a pair that rotary embedding turns.")
      .value("half_split", RopePairs::half_split,
             "m and m + dims/2: GPT-NeoX, Llama, Hugging Face's checkpoints")
      .value("interleaved", RopePairs::interleaved,
             "2m and 2m + 1: the paper, GPT-J, Meta's own Llama checkpoints");

  nb::class_<Position>(m, "Position",
                       "How attention knows how far apart a query and a key are, as a value. All of it acts "
                       "on the distance d = p - j of the "
                       "query's position p = i + S - T and the key's j, within each sequence. What is "
                       "learned in it may be an array, or a "
                       "Tensor whose grad then receives its gradient.")
      .def_static(
          "alibi",
          [](std::optional<std::vector<double>> slopes) {
            return slopes ? Position::alibi(std::move(*slopes)) : Position::alibi();
          },
          "slopes"_a = nb::none(),
          "Each head subtracts slope·|d| (Press et al. 2022), with that paper's slopes for the call's number "
          "of heads, or "
          "one's own.")
      .def_static(
          "t5",
          [](nb::handle table, bool bidirectional, std::int64_t max_distance) {
            return Position::t5(learned("table", table),
                                {.bidirectional = bidirectional, .max_distance = max_distance});
          },
          "table"_a, nb::kw_only(), "bidirectional"_a = true, "max_distance"_a = 128,
          "Adds table[bucket(d), h]: float32 [buckets, H], learned (Raffel et al. 2020, section 2.1).\n\n"
          "Raises:\n    Error: (shape), (dtype) for another table; (value) unless buckets are even "
          "(bidirectional) and "
          "max_distance exceeds the buckets that hold one distance each.")
      .def_static(
          "shaw",
          [](nb::handle keys, nb::handle values) {
            return Position::shaw(learned("keys", keys), learned("values", values));
          },
          "keys"_a, "values"_a = nb::none(),
          "Each pair's offset j - p, clipped to ±K, has vectors of its own: scores Q·(K + A)ᵀ, outputs P·(V "
          "+ C) (Shaw et "
          "al. 2018, eq. 3 and 4). keys A: float32 [2K + 1, D] or [H, 2K + 1, D]; values C: with Dv. "
          "Learned.")
      .def_static(
          "transformer_xl",
          [](nb::handle relative, nb::handle content_bias, nb::handle position_bias,
             std::optional<std::int64_t> least_offset) {
            return Position::transformer_xl(learned("relative", relative),
                                            learned("content_bias", content_bias),
                                            learned("position_bias", position_bias), least_offset);
          },
          "relative"_a, "content_bias"_a, "position_bias"_a, nb::kw_only(), "least_offset"_a = nb::none(),
          "Scores become (q + u)·k + (q + v)·r (Dai et al. 2019, section 3.3): relative r is float32 [P, H, "
          "D], for offsets "
          "j - p from least_offset (1 - P unless given) on; u and v are [H, D]. Learned.")
      .def_static(
          "rope",
          [](double base, std::int64_t dims, RopePairs pairs, double scaling) {
            return Position::rope({.base = base, .dims = dims, .pairs = pairs, .scaling = scaling});
          },
          nb::kw_only(), "base"_a = 10000.0, "dims"_a = 0, "pairs"_a = RopePairs::half_split,
          "scaling"_a = 1.0,
          "Queries and keys are turned by their positions before they meet (Su et al. 2021): pair m of the "
          "first `dims` "
          "columns (0: all) by p/scaling · base^(-2m/dims).\n\n"
          "Raises:\n    Error: (value) unless base and scaling are positive and dims even.")
      .def("__getstate__", &recipe)
      .def("__setstate__",
           [](Position& self, const std::pair<std::string, Options>& state) {
             const nb::object made = nb::type<Position>().attr(state.first.c_str())(**state.second);
             new (&self) Position(nb::cast<Position>(made));
           })
      .def("__str__", &Position::str)
      .def("__repr__", [](const Position& self) { return fmt::format("Position({})", self.str()); });
}

}  // namespace headway::python
