// What headway.torch asks of the library: attention for another program's tape, between DLPack capsules.
#include <omp.h>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <headway/autograd/tape.h>
#include <headway/core/fork.h>
#include <headway/core/parallel.h>
#include <headway/ops/views.h>

#include "array.h"
#include "attention_call.h"
#include "bindings.h"
#include "mask_recognition.h"

namespace headway::python {

using namespace nb::literals;

namespace {

constexpr const char* kOperation = "attention";

/// A call as headway.torch._options makes it. Its mask has been settled for the call's shape.
struct TorchCall {
  nb::object mask;
  std::optional<Position> position;
  std::optional<double> scale;
  double softcap = 0, dropout = 0;
  std::uint64_t seed = 0;
  /// Heads before positions, [B, H, T, D], in query, key, value, output and all gradients.
  bool heads_first = false;
  /// Query, key and value side by side, [B, T, 3·H·D], as the first tensor, of this many heads; 0: three
  /// tensors.
  std::int64_t combined = 0;
  Offsets query_offsets, key_offsets;
  Weights weights = Weights::none;
  Scores stage = Scores::softmaxed;
};

// Everything of a call but its results.
struct Lowered {
  std::array<Tensor, 3> inputs;  // combined: the first alone
  AttentionOptions options;
  std::optional<Generator> generator;
  HeadsLayout layout;

  Lowered(const Lowered&) = delete;
  Lowered(const TorchCall& call, nb::handle query, nb::handle key, nb::handle value, nb::handle bias) {
    inputs = {import_array(kOperation, "query", query), import_optional(kOperation, "key", key),
              import_optional(kOperation, "value", value)};
    if (call.heads_first) {
      for (Tensor& x : inputs) x = transpose(x, 1, 2);
    }
    if (call.combined) {
      const std::int64_t dim = inputs[0].size(-1) / (3 * call.combined);
      layout = {.heads = call.combined, .kv_heads = call.combined, .head_dim = dim, .value_head_dim = dim};
    }
    if (call.dropout > 0) generator.emplace(call.seed);
    options = lower(kOperation, {.mask = {},
                                 .bias = bias,
                                 .position = call.position ? &*call.position : nullptr,
                                 .scale = call.scale,
                                 .softcap = call.softcap,
                                 .dropout = call.dropout,
                                 .generator = generator ? &*generator : nullptr,
                                 .query_offsets = call.query_offsets,
                                 .key_offsets = call.key_offsets,
                                 .key_lengths = {}});
    options.stage = call.stage;
    if (call.mask.is_none()) return;
    const Tensor& q = inputs[0];
    if (call.combined) {
      const Shape heads{q.size(0), q.rank() == 3 ? q.size(1) : 0, call.combined, layout.head_dim};
      set_mask(options, call.mask,
               shape_of_call(heads, heads, call.combined, options.query_offsets, options.key_offsets, {}));
    } else {
      set_mask(options, call.mask,
               shape_of_call(q.shape(), inputs[1].shape(), q.rank() < 2 ? 0 : q.size(-2),
                             options.query_offsets, options.key_offsets, {}));
    }
  }

  AttentionResult run() const {
    return layout.heads ? attention_combined(inputs[0], layout, options)
                        : attention(inputs[0], inputs[1], inputs[2], options);
  }
};

nb::object exported(const Tensor& x, bool heads_first) {
  if (!x.defined()) return nb::none();
  return to_capsule(heads_first ? transpose(x, 1, 2) : x, false);
}

nb::tuple forward(const TorchCall& call, nb::handle query, nb::handle key, nb::handle value, nb::handle bias,
                  bool log_sum_exp) {
  Lowered lowered(call, query, key, value, bias);
  lowered.options.weights = call.weights;
  lowered.options.log_sum_exp = log_sum_exp;
  AttentionResult result;
  {
    const nb::gil_scoped_release release;
    const NoGrad silent;
    result = lowered.run();
  }
  return nb::make_tuple(exported(result.output, call.heads_first), exported(result.log_sum_exp, false),
                        exported(result.weights, false));
}

nb::tuple backward(const TorchCall& call, nb::handle d_output, nb::handle query, nb::handle key,
                   nb::handle value, nb::handle bias, nb::handle output, nb::handle log_sum_exp,
                   nb::handle d_log_sum_exp, const std::array<bool, 4>& needs) {
  Lowered lowered(call, query, key, value, bias);
  AttentionOptions& options = lowered.options;
  const auto swapped = [&](const char* argument, nb::handle array) {
    const Tensor x = import_array(kOperation, argument, array);
    return call.heads_first ? transpose(x, 1, 2) : x;
  };
  const AttentionResult known{.output = swapped("output", output),
                              .weights = {},
                              .log_sum_exp = import_array(kOperation, "log_sum_exp", log_sum_exp)};
  options.known = &known;
  const Tensor d_o = swapped("d_output", d_output);
  const Tensor d_lse = import_optional(kOperation, "d_log_sum_exp", d_log_sum_exp);
  options.log_sum_exp = d_lse.defined();
  const std::array leaves = {&lowered.inputs[0], &lowered.inputs[1], &lowered.inputs[2], &options.bias};
  {
    const nb::gil_scoped_release release;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      if (needs[i] && leaves[i]->defined()) *leaves[i] = require_grad(leaves[i]->detach());
    }
    walk_back(lowered.run(), contiguous(d_o.detach()), d_lse);
  }
  nb::list out;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const bool wanted = needs[i] && leaves[i]->defined();
    out.append(wanted ? exported(leaves[i]->grad(), call.heads_first && i < 3) : nb::none());
  }
  return nb::tuple(out);
}

// On the threads that libgomp keeps for PyTorch in this process.
void openmp_team(int count, void (*body)(void*), void* context) {
#pragma omp parallel num_threads(count)
  body(context);
}

// libgomp believes that its threads live in a forked child, too, and waits for them there: for ever, be it in
// our loops or in PyTorch's. Without threads it starts new ones, in the child as in the parent.
void end_openmp_threads(void*) { omp_pause_resource_all(omp_pause_soft); }

}  // namespace

void bind_torch(nb::module_& m) {
  nb::class_<TorchCall>(m, "_TorchCall")
      .def(
          "__init__",
          [](TorchCall* self, nb::object mask, std::optional<Position> position, std::optional<double> scale,
             double softcap, double dropout, std::uint64_t seed, bool heads_first, std::int64_t combined,
             Offsets query_offsets, Offsets key_offsets, Weights weights, Scores stage) {
            new (self) TorchCall{std::move(mask),
                                 std::move(position),
                                 scale,
                                 softcap,
                                 dropout,
                                 seed,
                                 heads_first,
                                 combined,
                                 std::move(query_offsets),
                                 std::move(key_offsets),
                                 weights,
                                 stage};
          },
          nb::kw_only(), "mask"_a = nb::none(), "position"_a = nb::none(), "scale"_a = nb::none(),
          "softcap"_a = 0.0, "dropout"_a = 0.0, "seed"_a = 0, "heads_first"_a = false, "combined"_a = 0,
          "query_offsets"_a = nb::none(), "key_offsets"_a = nb::none(), "weights"_a = Weights::none,
          "stage"_a = Scores::softmaxed)
      .def_ro("mask", &TorchCall::mask)
      .def_ro("position", &TorchCall::position)
      .def_ro("scale", &TorchCall::scale)
      .def_ro("softcap", &TorchCall::softcap)
      .def_ro("heads_first", &TorchCall::heads_first)
      .def_ro("combined", &TorchCall::combined)
      .def_ro("weights", &TorchCall::weights)
      .def_ro("stage", &TorchCall::stage);
  m.def("_torch_forward", &forward, "call"_a, "query"_a, "key"_a.none(), "value"_a.none(), "bias"_a.none(),
        "log_sum_exp"_a);
  m.def("_torch_backward", &backward, "call"_a, "d_output"_a, "query"_a, "key"_a.none(), "value"_a.none(),
        "bias"_a.none(), "output"_a, "log_sum_exp"_a, "d_log_sum_exp"_a.none(), "needs"_a);
  m.def(
      "_recognize_mask",
      [](nb::handle array, bool true_is_seen, std::int64_t batch, std::int64_t queries,
         std::int64_t keys) -> std::optional<PythonMask> {
        const auto mask =
            recognize(import_array(kOperation, "mask", array), true_is_seen, batch, queries, keys);
        if (!mask) return std::nullopt;
        return PythonMask(*mask, true);
      },
      "array"_a, "true_is_seen"_a, "batch"_a, "queries"_a, "keys"_a);
  m.def("_run_on_openmp", [] {
    static const bool once = [] {
      core::set_team(&openmp_team);
      core::at_fork({.before = &end_openmp_threads, .in_child = [](void*) { core::set_team(&openmp_team); }});
      return true;
    }();
    (void)once;
  });
}

}  // namespace headway::python
