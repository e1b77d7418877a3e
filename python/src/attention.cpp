#include <headway/ops/attention.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <headway/autograd/tape.h>
#include <headway/ops/explain.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "array.h"
#include "attention_call.h"
#include "bindings.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

struct Gradients {
  nb::object query, key, value, bias;
};

struct Inputs {
  Tensor q, k, v;
  Inputs(const char* operation, nb::handle query, nb::handle key, nb::handle value)
      : q(import_array(operation, "query", query)),
        k(import_array(operation, "key", key)),
        v(import_array(operation, "value", value)) {}
};

void set_mask_of(AttentionOptions& options, nb::handle mask, const Tensor& q, const Tensor& k) {
  if (mask.is_none()) return;
  const bool heads_apart = q.rank() == 3 || q.rank() == 4;
  std::optional<PlanShape> shape;
  if (heads_apart)
    shape = shape_of_call(q.shape(), k.shape(), q.size(-2), options.query_offsets, options.key_offsets,
                          options.key_lengths);
  set_mask(options, mask, shape);
}

// New keys and values join those of the cache, and all of them are attended to.
void join_cache(nn::KeyValueCache& cache, Inputs& in, AttentionOptions& options) {
  if (!options.key_lengths.empty() || !options.key_offsets.empty()) {
    fail(ErrorCode::value, "attention",
         "kv_cache knows its lengths; want neither key_lengths nor key_offsets beside it");
  }
  cache.append(in.k.detach(), in.v.detach());
  options.key_lengths = cache.lengths();
  const std::int64_t longest = cache.rows() ? *std::ranges::max_element(cache.lengths()) : 0;
  in.k = slice(cache.key(), 1, 0, longest);
  in.v = slice(cache.value(), 1, 0, longest);
}

// Arrays are not on any tape; Tensors are, where they ask to be.
AttentionResult run(const Inputs& in, const AttentionOptions& options, bool on_tape) {
  const nb::gil_scoped_release release;
  std::optional<NoGrad> silent;
  if (!on_tape) silent.emplace();
  return attention(in.q, in.k, in.v, options);
}

nb::object attend(nb::handle query, nb::handle key, nb::handle value, const CallArguments& arguments,
                  nn::KeyValueCache* cache, const Capture* capture) {
  Inputs in("attention", query, key, value);
  AttentionOptions options = lower("attention", arguments);
  if (capture) {
    options.weights = capture->weights;
    options.stage = capture->stage;
    options.log_sum_exp = capture->log_sum_exp;
  }
  const nn::KeyValueCache before = cache ? *cache : nn::KeyValueCache();
  AttentionResult result;
  try {
    if (cache) join_cache(*cache, in, options);
    set_mask_of(options, arguments.mask, in.q, in.k);
    result = run(in, options, is_tensor(query));
  } catch (...) {
    if (cache) *cache = before;  // a call that fails has seen nothing
    throw;
  }
  nb::object output = export_like(result.output, query);
  if (!capture) return output;
  return nb::cast(Attended{std::move(output), export_like(result.weights, query),
                           export_like(result.log_sum_exp, query)});
}

Gradients differentiate(nb::handle d_output, nb::handle query, nb::handle key, nb::handle value,
                        nb::handle output, nb::handle log_sum_exp, nb::handle d_log_sum_exp,
                        const std::array<bool, 4>& needs, const CallArguments& arguments) {
  constexpr const char* kOperation = "attention_backward";
  if (!autograd::recording()) {
    fail(ErrorCode::value, kOperation,
         "is called under no_grad, where nothing has a gradient; want it outside");
  }
  Inputs in(kOperation, query, key, value);
  AttentionOptions options = lower(kOperation, arguments);
  set_mask_of(options, arguments.mask, in.q, in.k);
  const AttentionResult known{.output = import_array(kOperation, "output", output),
                              .weights = {},
                              .log_sum_exp = import_array(kOperation, "log_sum_exp", log_sum_exp)};
  const Tensor d_o = import_array(kOperation, "d_output", d_output);
  const Tensor d_lse = import_optional(kOperation, "d_log_sum_exp", d_log_sum_exp);
  options.known = &known;
  options.log_sum_exp = d_lse.defined();
  const std::array inputs = {&in.q, &in.k, &in.v, &options.bias};
  {
    const nb::gil_scoped_release release;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      Tensor& x = *inputs[i];
      if (!x.defined()) continue;
      x = x.detach();
      if (needs[i]) x = require_grad(x);
    }
    const AttentionResult result = attention(in.q, in.k, in.v, options);
    if (result.output.requires_grad()) walk_back(result, contiguous(d_o.detach()), d_lse);
  }
  std::array<nb::object, 4> out;
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = needs[i] && inputs[i]->defined() ? export_like(inputs[i]->grad(), query) : nb::none();
  return {out[0], out[1], out[2], out[3]};
}

// A tuple of sizes stands for an array of that shape, of which nothing need exist.
Tensor shape_or_array(const char* argument, nb::handle x) {
  std::vector<std::int64_t> sizes;
  if (!nb::isinstance<nb::tuple>(x)) return import_array("explain", argument, x);
  if (!nb::try_cast(x, sizes)) {
    fail(ErrorCode::value, "explain",
         fmt::format("{} is a tuple that holds other things than sizes", argument));
  }
  return Tensor::empty(Shape(std::span<const std::int64_t>(sizes)), DType::float32, Device::meta);
}

AttentionExplanation explain(nb::handle query, nb::handle key, nb::handle value,
                             const CallArguments& arguments) {
  const Tensor q = shape_or_array("query", query), k = shape_or_array("key", key),
               v = shape_or_array("value", value);
  AttentionOptions options = lower("explain", arguments);
  set_mask_of(options, arguments.mask, q, k);
  const nb::gil_scoped_release release;
  return explain_attention(q, k, v, options);
}

// Binds f(leading..., CallArguments, trailing...) with the options as keywords, the same ones everywhere.
auto option_names() {
  return std::make_tuple("mask"_a = nb::none(), "bias"_a = nb::none(), "position"_a = nb::none(),
                         "scale"_a = nb::none(), "softcap"_a = 0.0, "dropout"_a = 0.0,
                         "generator"_a = nb::none(), "query_offsets"_a = nb::none(),
                         "key_offsets"_a = nb::none(), "key_lengths"_a = nb::none());
}
#define HEADWAY_OPTIONS                                                                                    \
  nb::handle mask, nb::handle bias, const Position *position, std::optional<double> scale, double softcap, \
      double dropout, Generator *generator, Offsets query_offsets, Offsets key_offsets, Offsets key_lengths
#define HEADWAY_GIVEN                                                                   \
  CallArguments {                                                                       \
    mask, bias, position, scale, softcap, dropout, generator, std::move(query_offsets), \
        std::move(key_offsets), std::move(key_lengths)                                  \
  }

void bind_values(nb::module_& m) {
  nb::enum_<Weights>(m, "Weights", "Which array of T·S weights to return beside the output.")
      .value("none", Weights::none)
      .value("per_head", Weights::per_head, "[B, H, T, S]")
      .value("averaged", Weights::averaged, "[B, T, S], over heads");
  nb::enum_<Scores>(m, "Scores",
                    "The stages from product to weight, in the order in which attention computes them.")
      .value("raw", Scores::raw, "Q·Kᵀ·scale, of every pair, hidden or not")
      .value("capped", Scores::capped, "softcap of those (without one: raw)")
      .value("masked", Scores::masked, "with bias and position added, -inf where hidden")
      .value("softmaxed", Scores::softmaxed, "the weights themselves, before dropout, 0 where hidden");
  nb::class_<Capture>(m, "Capture", "What attention() returns beside the output.")
      .def(
          "__init__",
          [](Capture* self, Weights weights, Scores stage, bool log_sum_exp) {
            new (self) Capture{weights, stage, log_sum_exp};
          },
          nb::kw_only(), "weights"_a = Weights::none, "stage"_a = Scores::softmaxed, "log_sum_exp"_a = false,
          "Args:\n    weights: an array of weights of T·S elements, per head or averaged.\n"
          "    stage: what that array holds: the weights, or the scores at a stage before.\n"
          "    log_sum_exp: each query's log Σ exp(score), float32 [B, H, T] or packed [H, N]: what "
          "attention_backward() and merging want.")
      .def_ro("weights", &Capture::weights)
      .def_ro("stage", &Capture::stage)
      .def_ro("log_sum_exp", &Capture::log_sum_exp)
      .def("__getstate__",
           [](const Capture& self) { return std::make_tuple(self.weights, self.stage, self.log_sum_exp); })
      .def("__setstate__", [](Capture& self, const std::tuple<Weights, Scores, bool>& state) {
        new (&self) Capture{std::get<0>(state), std::get<1>(state), std::get<2>(state)};
      });
  nb::class_<Attended>(m, "Attended", "What attention() returned with a Capture; None where not asked for.")
      .def_ro("output", &Attended::output, "[B, T, H, Dv], or packed [N, H, Dv]")
      .def_ro("weights", &Attended::weights,
              "float32 [B, H, T, S], averaged [B, T, S]; rows sum to 1, or are 0")
      .def_ro("log_sum_exp", &Attended::log_sum_exp,
              "float32 [B, H, T], packed [H, N]; -inf where nothing is seen");
  nb::class_<Gradients>(m, "Gradients", "d(loss)/d(input), of each input's shape; None where not asked for.")
      .def_ro("query", &Gradients::query)
      .def_ro("key", &Gradients::key)
      .def_ro("value", &Gradients::value)
      .def_ro("bias", &Gradients::bias);
}

constexpr const char* kAttention =
    R"(softmax(softcap(Q·Kᵀ·scale) + bias + position, masked)·V for every head (Vaswani 2017, eq. 1; tiles and the
log-sum-exp after Dao 2023), in memory O(T + S).

Args:
    query: [B, T, H, D], or packed [N, H, D] with offsets. float32, bfloat16 or float64, one for all three. Any strides
        whose last is 1; nothing is copied.
    key: [B, S, G, D] (packed [M, G, D]), G dividing H: query head h uses key head h·G/H.
    value: [B, S, G, Dv] (packed [M, G, Dv]).
    mask: who sees whom: a Mask, or a TilePlan made from one. None: everyone sees everything.
    bias: added to the scores, float32, broadcast to [B, H, T, S]; -inf hides a pair.
    position: what the distance between query and key adds.
    scale: 1/sqrt(D) unless given.
    softcap: scores become softcap·tanh(score/softcap) before biases are added; 0: they stay as they are.
    dropout: probability of dropping a weight; wants a generator.
    generator: what dropout draws from.
    query_offsets, key_offsets: of packed input: sequence b is rows offsets[b] … offsets[b + 1] - 1.
    key_lengths: of a padded key and value, the first key_lengths[b] positions alone exist.
    kv_cache: the new keys and values join those in the cache, and all of them are attended to.
    capture: what to return beside the output.

Returns:
    [B, T, H, Dv] (packed [N, H, Dv]) as an array of the query's kind; with `capture` an Attended that holds it. A query
    that sees no key gets 0. Tensors are recorded for backward(), other arrays are not.

Raises:
    Error: (shape), (dtype), (value) or (unsupported), naming the argument, what it is and what was wanted.
)";
constexpr const char* kBackward =
    R"(The gradients of attention(), for a program with a tape of its own. What is learned in `position` receives its
gradient in the grad of the Tensors it was made of.

Args:
    d_output: gradient of the output, of its shape.
    query, key, value: as given to attention(), like the options: a generator must stand where it stood then.
    output, log_sum_exp: what attention(capture=Capture(log_sum_exp=True)) returned.
    d_log_sum_exp: gradient of the log-sum-exp, where it was used.
    needs: which gradients are wanted: of query, key, value and bias.

Returns:
    Gradients, as arrays of the query's kind; None where not needed.

Raises:
    Error: what attention() raises, and (shape) or (dtype) where results and gradients do not fit the call.
)";
constexpr const char* kExplain =
    R"(What attention() would do with these arguments, and why. query, key and value may be tuples of sizes: nothing of
that size need exist.

Example:
    print(headway.explain((1, 4096, 8, 64), (1, 4096, 8, 64), (1, 4096, 8, 64), mask=Mask.causal()))

Raises:
    Error: what attention() would raise.
)";

void bind_explanation(nb::module_& m) {
  using E = AttentionExplanation;
  nb::class_<E>(m, "AttentionExplanation",
                "What attention() would do with its arguments, and why; str() says it all.")
      .def_ro("path", &E::path, "which kernel runs")
      .def_ro("reasons", &E::reasons, "why, and what it costs beside")
      .def_ro("mask", &E::mask)
      .def_ro("isa", &E::isa, "instruction set; empty on the reference path")
      .def_ro("full_tiles", &E::full_tiles)
      .def_ro("partial_tiles", &E::partial_tiles)
      .def_ro("pairs", &E::pairs, "of queries and keys, over all sequences and heads")
      .def_ro("visible_pairs", &E::visible_pairs, "those that the mask leaves")
      .def_ro("computed_pairs", &E::computed_pairs,
              "those that the products compute: whole tiles, or vectors of them")
      .def_ro("forward_operations", &E::forward_operations, "of the products; multiply and add are two")
      .def_ro("backward_operations", &E::backward_operations)
      .def_ro("tensor_bytes", &E::tensor_bytes, "query, key, value and output, once each")
      .def_ro("plan_bytes", &E::plan_bytes, "of the compiled mask")
      .def_ro("forward_workspace", &E::forward_workspace, "bytes")
      .def_ro("backward_workspace", &E::backward_workspace, "bytes")
      .def("__str__", &E::str)
      .def("__repr__", [](const E& self) { return fmt::format("AttentionExplanation({})", self.path); });
}

}  // namespace

void bind_attention(nb::module_& m) {
  bind_values(m);
  bind_explanation(m);
  nb::class_<nn::KeyValueCache> c(
      m, "KeyValueCache",
      "What step-by-step decoding has seen so far: keys and values of each row, grown as needed.");
  refuse_pickling(c, "KeyValueCache", "the keys and values that went into it");
  c.def(nb::init<>(), "Empty; the first positions that join it say how many rows it has.")
      .def_prop_ro("lengths", &nn::KeyValueCache::lengths, "Positions held by each row.")
      .def("reorder", &nn::KeyValueCache::reorder, "rows"_a,
           "Row r becomes the former row rows[r]; rows may be dropped or repeated.\n\nRaises:\n    Error: "
           "(value) for a "
           "row that is not there.");

  std::apply(
      [&](auto... options) {
        m.def(
            "attention",
            [](nb::handle query, nb::handle key, nb::handle value, HEADWAY_OPTIONS, nn::KeyValueCache* cache,
               const Capture* capture) { return attend(query, key, value, HEADWAY_GIVEN, cache, capture); },
            "query"_a, "key"_a, "value"_a, nb::kw_only(), options..., "kv_cache"_a = nb::none(),
            "capture"_a = nb::none(), kAttention);
        m.def(
            "attention_backward",
            [](nb::handle d_output, nb::handle query, nb::handle key, nb::handle value, nb::handle output,
               nb::handle log_sum_exp, HEADWAY_OPTIONS, nb::handle d_log_sum_exp,
               const std::array<bool, 4>& needs) {
              return differentiate(d_output, query, key, value, output, log_sum_exp, d_log_sum_exp, needs,
                                   HEADWAY_GIVEN);
            },
            "d_output"_a, "query"_a, "key"_a, "value"_a, "output"_a, "log_sum_exp"_a, nb::kw_only(),
            options..., "d_log_sum_exp"_a = nb::none(), "needs"_a = nb::make_tuple(true, true, true, true),
            kBackward);
        m.def(
            "explain",
            [](nb::handle query, nb::handle key, nb::handle value, HEADWAY_OPTIONS) {
              return explain(query, key, value, HEADWAY_GIVEN);
            },
            "query"_a, "key"_a, "value"_a, nb::kw_only(), options..., kExplain);
      },
      option_names());
}

}  // namespace headway::python
