#include <headway/ops/all.h>

#include <cstdint>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "call.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using Unary = Tensor (*)(const Tensor&);

void bind_unary(nb::module_& m, const char* name, Unary f, const char* doc) {
  m.def(
      name,
      [name, f](nb::handle x) {
        const Tensor in = import_array(name, "x", x);
        return run_like(x, [&] { return f(in); });
      },
      "x"_a, doc);
}

void bind_pointwise(nb::module_& m) {
  bind_unary(m, "relu", &relu, "max(x, 0).");
  bind_unary(m, "gelu", &gelu, "x·Φ(x), exact (Hendrycks & Gimpel 2016).");
  bind_unary(m, "gelu_tanh", &gelu_tanh,
             "0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) (Hendrycks & Gimpel 2016).");
  bind_unary(m, "silu", &silu, "x·sigmoid(x) (Elfwing et al. 2018).");
  bind_unary(m, "tanh", &tanh, "tanh x.");
  bind_unary(m, "softmax", &softmax,
             "Softmax over the last dimension. A row of -inf gives zeros, never NaN.");
  bind_unary(m, "log_softmax", &log_softmax, "Logarithm of softmax over the last dimension.");
  m.def(
      "dropout",
      [](nb::handle x, double p, Generator& generator) {
        const Tensor in = import_array("dropout", "x", x);
        return run_like(x, [&] { return dropout(in, p, generator); });
      },
      "x"_a, "p"_a, "generator"_a,
      "Zeroes elements with probability p and divides the others by 1 - p (Srivastava et al. 2014).");
  m.def(
      "concat", [](const std::vector<Tensor>& parts, int dim) { return concat(parts, dim); }, "parts"_a,
      "dim"_a, "Joins Tensors along a dimension; copies.");
  m.def(
      "gather",
      [](nb::handle x, nb::handle index) {
        const Tensor in = import_array("gather", "x", x), rows = import_array("gather", "index", index);
        return run_like(x, [&] { return gather(in, rows); });
      },
      "x"_a, "index"_a, "Rows of x [N, ...] by index [M] int32, to [M, ...]; differentiable in x.");
}

void bind_loss(nb::module_& m) {
  m.def(
      "cross_entropy",
      [](nb::handle logits, nb::handle targets, double label_smoothing, std::int32_t ignore_index,
         double divisor) {
        const Tensor in = import_array("cross_entropy", "logits", logits);
        const Tensor ids = import_array("cross_entropy", "targets", targets);
        return run_like(logits, [&] {
          return cross_entropy(
              in, ids,
              {.label_smoothing = label_smoothing, .ignore_index = ignore_index, .divisor = divisor});
        });
      },
      "logits"_a, "targets"_a, nb::kw_only(), "label_smoothing"_a = 0.0, "ignore_index"_a = -1,
      "divisor"_a = 0.0,
      "Mean cross-entropy of softmax(logits) against targets: logits [N, V], targets [N] int32, to a "
      "scalar.\n\n"
      "Args:\n    label_smoothing: mass spread evenly over the vocabulary (Szegedy 2016; Vaswani 2017, "
      "section 5.4).\n"
      "    ignore_index: targets with this value count for nothing.\n"
      "    divisor: the sum is divided by it; 0: by the number of targets that count.\n\n"
      "Raises:\n    Error: (value) for a target outside [0, V).");
}

Tensor rotated(const Tensor& x, const RopeOptions& rope, const Tensor& position_ids) {
  return rotary(x, {.rope = rope, .position_ids = position_ids, .starts = {}, .offsets = {}});
}

void bind_attention_parts(nb::module_& m) {
  m.def(
      "rotary",
      [](nb::handle x, nb::handle position_ids, double base, std::int64_t dims, RopePairs pairs,
         double scaling) {
        const Tensor in = import_array("rotary", "x", x);
        const Tensor ids = import_optional("rotary", "position_ids", position_ids);
        const RopeOptions rope{.base = base, .dims = dims, .pairs = pairs, .scaling = scaling};
        return run_like(x, [&] { return rotated(in, rope, ids); });
      },
      "x"_a, "position_ids"_a = nb::none(), nb::kw_only(), "base"_a = 10000.0, "dims"_a = 0,
      "pairs"_a = RopePairs::half_split, "scaling"_a = 1.0,
      "Rotary position embedding (Su et al. 2021, eq. 34) of x [B, T, H, D]: each pair of columns is turned "
      "by its row's "
      "position. position_ids: int32 [T] or [B, T]; rows count from 0 without.");
  m.def(
      "merge_attention",
      [](const std::vector<nb::object>& outputs, const std::vector<nb::object>& log_sum_exps) {
        if (outputs.empty() || outputs.size() != log_sum_exps.size())
          fail(ErrorCode::value, "merge_attention", "want at least one output, and a log-sum-exp for each");
        std::vector<AttentionResult> parts;
        for (std::size_t i = 0; i < outputs.size(); ++i) {
          AttentionResult& part = parts.emplace_back();
          part.output = import_array("merge_attention", "an output", outputs[i]);
          part.log_sum_exp = import_array("merge_attention", "a log-sum-exp", log_sum_exps[i]);
        }
        AttentionResult merged;
        nb::object output = run_like(outputs[0], [&] {
          merged = merge_attention(parts);
          return merged.output;
        });
        return nb::make_tuple(output, export_like(merged.log_sum_exp, outputs[0]));
      },
      "outputs"_a, "log_sum_exps"_a,
      "Results of attention() over disjoint sets of keys, joined to the one over their union (Milakov & "
      "Gimelshein 2018): "
      "(output, log_sum_exp). Parts that saw nothing add nothing.");
}

}  // namespace

void bind_ops(nb::module_& m) {
  bind_pointwise(m);
  bind_loss(m);
  bind_attention_parts(m);
}

}  // namespace headway::python
