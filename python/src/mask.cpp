#include "mask.h"

#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nanobind/nanobind.h>
#include <nanobind/operators.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <headway/inspect/tile_map.h>

#include "array.h"
#include "bindings.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

TilePlan PythonMask::plan(const PlanShape& shape) const {
  if (kept_->defined() && kept_->shape() == shape) return *kept_;
  const Mask resolved = resolve(shape);
  TilePlan compiled;
  {
    const nb::gil_scoped_release release;
    compiled = TilePlan(resolved, shape);
  }
  if (constant_) *kept_ = compiled;
  return compiled;
}

PythonMask join(const std::vector<PythonMask>& masks,
                const std::function<Mask(const std::vector<Mask>&)>& operation,
                const std::function<std::string(const std::vector<std::string>&)>& name) {
  bool plain = true, constant = true;
  std::vector<Mask> parts;
  std::vector<std::string> names;
  for (const PythonMask& mask : masks) {
    plain = plain && mask.plain();
    constant = constant && mask.constant();
    parts.push_back(mask.mask());
    names.push_back(mask.str());
  }
  if (plain) return {operation(parts), constant};
  return {[masks, operation](const PlanShape& shape) {
            std::vector<Mask> resolved;
            for (const PythonMask& mask : masks) resolved.push_back(mask.resolve(shape));
            return operation(resolved);
          },
          name(names), constant};
}

namespace {

using Positions = std::vector<std::int64_t>;
using Sizes = nb::typed<nb::tuple, int, int, int, int>;

PythonMask constant(Mask mask) { return {std::move(mask), true}; }

// Asks headway._predicate for the table of a Python predicate.
PythonMask where(const nb::callable& predicate) {
  const nb::object name = nb::getattr(predicate, "__name__", nb::str("predicate"));
  // The function object is dropped with the last copy of the mask, wherever that is.
  std::shared_ptr<nb::callable> kept(new nb::callable(predicate), [](nb::callable* callable) {
    const nb::gil_scoped_acquire gil;
    delete callable;
  });
  return {[kept](const PlanShape& shape) {
            std::vector<std::pair<std::int64_t, std::int64_t>> lengths;
            for (const PlanShape::Lengths& sequence : shape.sequences)
              lengths.emplace_back(sequence.queries, sequence.keys);
            const Shape pairs = shape.pairs();
            const nb::object table = nb::module_::import_("headway._predicate")
                                         .attr("tabulate")(*kept, lengths, shape.heads, pairs[2], pairs[3]);
            return Mask::allow(import_array("Mask.where", "the predicate's table", table));
          },
          fmt::format("where({})", nb::cast<std::string>(nb::str(name))), true};
}

// What pickle keeps: Mask::parse() reads back whatever needs no array, list or callable.
std::string text_of(const PythonMask& mask) {
  std::string text = mask.str();
  try {
    Mask::parse(text);
  } catch (const Error&) {
    fail(ErrorCode::unsupported, "Mask",
         fmt::format("{} holds an array, a list or a callable and cannot be pickled; want those pickled, and "
                     "the mask made of them again",
                     text));
  }
  return text;
}

void bind_class(nb::module_& m) {
  nb::enum_<Align>(m, "Align",
                   "Which end of the keys the queries stand at when there are more keys than queries.")
      .value("bottom_right", Align::bottom_right,
             "the last query sees every key, as a cache needs: i + S - T")
      .value("top_left", Align::top_left, "query i has position i");

  nb::class_<PythonMask> c(
      m, "Mask",
      "Who may look at whom, as a value. The name says the polarity: everything here "
      "tells what is seen, deny and ~ what "
      "is not. a & b sees what both see, a | b what either sees. p is a query's position "
      "(see Align), j a key's; both "
      "count within their sequence.");
  bind_as_value(c);
  c.def(nb::init<>(), "Everything is visible.")
      .def_static(
          "causal", [](Align align) { return constant(Mask::causal(align)); },
          "align"_a = Align::bottom_right, "j <= p.")
      .def_static(
          "window",
          [](std::int64_t left, std::int64_t right, Align align) {
            return constant(Mask::window(left, right, align));
          },
          "left"_a, "right"_a, "align"_a = Align::bottom_right,
          "p - left <= j <= p + right (Beltagy et al. 2020).\n\nRaises:\n    Error: (value) when either is "
          "negative.")
      .def_static(
          "padding", [](Positions lengths) { return constant(Mask::padding(std::move(lengths))); },
          "lengths"_a, "Sequence b has lengths[b] keys; the rest of the row is padding.")
      .def_static(
          "documents", [](Positions offsets) { return constant(Mask::documents(std::move(offsets))); },
          "offsets"_a, "Positions offsets[d] … offsets[d + 1] - 1 form document d and see each other alone.")
      .def_static(
          "allow",
          [](nb::handle visible) {
            return PythonMask(Mask::allow(import_array("Mask.allow", "visible", visible)), false);
          },
          "visible"_a, "An array of bool that broadcasts to [B, H, T, S]: true is seen.")
      .def_static(
          "deny",
          [](nb::handle hidden) {
            return PythonMask(Mask::deny(import_array("Mask.deny", "hidden", hidden)), false);
          },
          "hidden"_a, "An array of bool that broadcasts to [B, H, T, S]: true is not seen.")
      .def_static(
          "dilated",
          [](std::int64_t left, std::int64_t right, std::int64_t step, Align align) {
            return constant(Mask::dilated(left, right, step, align));
          },
          "left"_a, "right"_a, "step"_a, "align"_a = Align::bottom_right,
          "Every step-th key of a window: j = p + m·step for -left <= m <= right (Beltagy et al. 2020, "
          "section 3.1).")
      .def_static(
          "strided", [](std::int64_t stride) { return constant(Mask::strided(stride)); }, "stride"_a,
          "j <= p, and p - j <= stride or divisible by it (Child et al. 2019, section 4.2).")
      .def_static(
          "fixed",
          [](std::int64_t stride, std::int64_t summary) { return constant(Mask::fixed(stride, summary)); },
          "stride"_a, "summary"_a,
          "j <= p, and j in p's block of `stride` positions, or among the last `summary` of its own block "
          "(Child et "
          "al. 2019, section 4.2).")
      .def_static(
          "global_", [](Positions positions) { return constant(Mask::global(std::move(positions))); },
          "positions"_a, "Pairs whose query or key stands at one of these positions (Beltagy et al. 2020).")
      .def_static(
          "random_blocks",
          [](std::int64_t block, std::int64_t count, std::uint64_t seed) {
            return constant(Mask::random_blocks(block, count, seed));
          },
          "block"_a, "count"_a, "seed"_a = 0,
          "Of each block of queries, the keys of `count` blocks drawn without replacement (Zaheer et al. "
          "2020).")
      .def_static(
          "big_bird",
          [](std::int64_t block, std::int64_t window, std::int64_t global, std::int64_t random,
             std::uint64_t seed) {
            return constant(Mask::big_bird(
                {.block = block, .window = window, .global = global, .random = random, .seed = seed}));
          },
          nb::kw_only(), "block"_a = 64, "window"_a = 3, "global_"_a = 2, "random"_a = 3, "seed"_a = 0,
          "Window, global and random blocks of `block` positions together (Zaheer et al. 2020): `window` "
          "neighbouring blocks "
          "(odd), the first `global_` blocks, `random` blocks drawn for each block of queries.")
      .def_static(
          "blocks",
          [](nb::handle visible, std::int64_t block) {
            return PythonMask(Mask::blocks(import_array("Mask.blocks", "visible", visible), block), false);
          },
          "visible"_a, "block"_a,
          "An array of bool that broadcasts to [B, H, ceil(T / block), ceil(S / block)]: an element for each "
          "block.")
      .def_static("where", &where, "predicate"_a,
                  "Whatever the callable says. It is called with a Pairs, whose query [n, 1] and key [1, m] "
                  "are NumPy arrays, on "
                  "the thread that calls attention, and answers with an array of bool that broadcasts to [n, "
                  "m]: some calls for "
                  "a shape, not one for each pair. What it said for the last shape is kept.\n\n"
                  "Example:\n    Mask.where(lambda at: (at.query - at.key) % 3 == 0)")
      .def_static(
          "per_head",
          [](const std::vector<PythonMask>& masks) {
            return join(
                masks, [](const std::vector<Mask>& parts) { return Mask::per_head(parts); },
                [](const auto& names) { return fmt::format("per_head({})", fmt::join(names, ", ")); });
          },
          "masks"_a, "masks[h] for head h.")
      .def_static(
          "parse", [](std::string_view text) { return constant(Mask::parse(text)); }, "text"_a,
          "The mask that str() writes, of those without array, list or callable: \"causal & window(256, "
          "0)\".\n\n"
          "Raises:\n    Error: (value) showing where it cannot be read.")
      .def(
          "visible",
          [](const PythonMask& self, std::int64_t query, std::int64_t key, std::int64_t queries,
             std::int64_t keys, std::int64_t sequence, std::int64_t head) {
            const PlanShape shape{
                .sequences = std::vector<PlanShape::Lengths>(
                    static_cast<std::size_t>(std::max<std::int64_t>(sequence, 0)) + 1, {queries, keys}),
                .heads = head + 1};
            const Mask mask = self.resolve(shape);
            mask.check(shape);
            if (query < 0 || key < 0 || sequence < 0 || head < 0 || query >= queries || key >= keys)
              fail(ErrorCode::value, "Mask.visible",
                   fmt::format("({}, {}) is no pair of {} queries and {} keys", query, key, queries, keys));
            return mask.visible({sequence, head, query, key, queries, keys});
          },
          "query"_a, "key"_a, nb::kw_only(), "queries"_a, "keys"_a, "sequence"_a = 0, "head"_a = 0,
          "True when the query sees the key: the definition that all kernels are held to.")
      .def(
          "__and__",
          [](const PythonMask& a, const PythonMask& b) {
            return join(
                {a, b}, [](const std::vector<Mask>& of) { return of[0] & of[1]; },
                [](const auto& names) { return fmt::format("({}) & ({})", names[0], names[1]); });
          },
          nb::is_operator())
      .def(
          "__or__",
          [](const PythonMask& a, const PythonMask& b) {
            return join(
                {a, b}, [](const std::vector<Mask>& of) { return of[0] | of[1]; },
                [](const auto& names) { return fmt::format("({}) | ({})", names[0], names[1]); });
          },
          nb::is_operator())
      .def("__invert__",
           [](const PythonMask& a) {
             return join(
                 {a}, [](const std::vector<Mask>& of) { return !of[0]; },
                 [](const auto& names) { return fmt::format("!({})", names[0]); });
           })
      .def("__getstate__", &text_of)
      .def("__setstate__", [](PythonMask& self,
                              std::string_view text) { new (&self) PythonMask(constant(Mask::parse(text))); })
      .def("__str__", &PythonMask::str)
      .def("__repr__", [](const PythonMask& self) { return fmt::format("Mask({})", self.str()); });
}

TilePlan compile(const PythonMask& mask, std::int64_t batch, std::int64_t heads, std::int64_t queries,
                 std::int64_t keys) {
  for (const std::int64_t size : {batch, heads, queries, keys}) {
    if (size < 0) fail(ErrorCode::shape, "TilePlan", fmt::format("a size is {}; want 0 or more", size));
  }
  return mask.plan(PlanShape::padded(batch, heads, queries, keys));
}

void bind_plan(nb::module_& m) {
  nb::class_<TilePlan> c(
      m, "TilePlan",
      "A mask compiled for a shape: for each block of queries the tiles of keys that are "
      "seen whole or in part. What is "
      "not listed is never touched. Made once, it serves any number of calls of that shape: "
      "attention(mask=plan). In a "
      "notebook it shows its picture.");
  bind_as_value(c);
  refuse_pickling(c, "TilePlan", "its mask, compiled again");
  c.def_static("of", &compile, "mask"_a, nb::kw_only(), "batch"_a = 1, "heads"_a = 1, "queries"_a, "keys"_a,
               "Compiles a mask for `batch` sequences [B, H, T, S] of equal lengths.\n\n"
               "Raises:\n    Error: (shape) where the mask's arrays or lengths do not fit.")
      .def_prop_ro("mask", [](const TilePlan& self) { return PythonMask(self.mask(), false); })
      .def_prop_ro(
          "shape",
          [](const TilePlan& self) {
            const Shape pairs = self.shape().pairs();
            return Sizes(nb::make_tuple(pairs[0], pairs[1], pairs[2], pairs[3]));
          },
          "[B, H, T, S], of the longest sequence.")
      .def_prop_ro("visible_pairs", &TilePlan::visible_pairs,
                   "Pairs that are seen, over all sequences and heads.")
      .def_prop_ro("bytes", &TilePlan::bytes, "Its own size.")
      .def(
          "picture",
          [](const TilePlan& self, std::int64_t sequence, std::int64_t head) {
            return inspect::tile_map(self, sequence, head);
          },
          "sequence"_a = 0, "head"_a = 0,
          "What one head of one sequence computes, as an SVG picture: a row for each block of 64 queries, "
          "from the left the "
          "keys; dark where a tile is seen whole, light where in part, white where nothing is touched.\n\n"
          "Raises:\n    Error: (value) when there is no such sequence or head.")
      .def("_repr_svg_", [](const TilePlan& self) { return inspect::tile_map(self); })
      .def("__repr__", [](const TilePlan& self) {
        return fmt::format("TilePlan({}, {})", self.mask().str(), self.shape().pairs().str());
      });
}

}  // namespace

void bind_mask(nb::module_& m) {
  bind_class(m);
  bind_plan(m);
}

}  // namespace headway::python
