#include <headway/nn/multi_head_attention.h>

#include <optional>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <fmt/format.h>

#include <headway/nn/decoder_layer.h>
#include <headway/ops/views.h>

#include "attention_call.h"
#include "bindings.h"
#include "call.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using nn::MultiHeadAttention;
using List = std::vector<std::int64_t>;

nb::object attend(MultiHeadAttention& self, nb::handle query, nb::handle key, nb::handle value,
                  nb::handle mask, nb::handle bias, const Position* position, Offsets query_offsets,
                  Offsets key_offsets, const Capture* capture) {
  constexpr const char* kOperation = "MultiHeadAttention";
  const Tensor q = import_array(kOperation, "query", query);
  const Tensor k = key.is_none() ? q : import_array(kOperation, "key", key);
  const Tensor v = value.is_none() ? k : import_array(kOperation, "value", value);
  nn::AttendOptions options;
  options.bias = import_optional(kOperation, "bias", bias);
  if (position) options.position = *position;
  if (query_offsets) options.query_offsets = std::move(*query_offsets);
  if (key_offsets) options.key_offsets = std::move(*key_offsets);
  if (capture) {
    if (capture->log_sum_exp || capture->stage != Scores::softmaxed) {
      fail(ErrorCode::unsupported, kOperation,
           "capture asks for more than weights; attention() gives the rest");
    }
    options.weights = capture->weights;
  }
  List queries = options.query_offsets, keys = options.key_offsets;
  if (q.rank() == 2 && queries.empty()) queries = {0, q.size(0)};
  if (k.rank() == 2 && keys.empty() && !key.is_none()) keys = {0, k.size(0)};
  set_mask(options, mask, shape_of_call(q.shape(), k.shape(), self.options().heads, queries, keys, {}));
  const bool of_itself = key.is_none() && value.is_none();
  nn::Attended out;
  nb::object output = run_like(query, [&] {
    out = of_itself ? self.attend(q, options) : self.attend(q, k, v, options);
    return out.output;
  });
  if (!capture) return output;
  return nb::cast(Attended{std::move(output), export_like(out.weights, query), nb::none()});
}

Options attention_keywords(const MultiHeadAttention& self) {
  const nn::MultiHeadAttentionOptions& options = self.options();
  Options of;
  of["model_dim"] = options.model_dim;
  of["heads"] = options.heads;
  of["kv_heads"] = options.kv_heads;
  of["head_dim"] = options.head_dim;
  of["value_head_dim"] = options.value_head_dim;
  of["key_dim"] = options.key_dim;
  of["value_dim"] = options.value_dim;
  of["bias"] = options.bias;
  of["dropout"] = options.dropout;
  of["projection"] = options.projection;
  of["head_input"] = options.head_input;
  of["scale"] = options.scale;
  of["softcap"] = options.softcap;
  of["position"] = options.position.defined() ? nb::cast(options.position) : nb::none();
  return of;
}

// By headway._convert, which knows the other libraries' layers without needing them.
nb::object converted(const char* function, nb::handle layer) {
  return nb::module_::import_("headway._convert").attr(function)(layer);
}

void bind_attention_layer(nb::module_& m) {
  nb::enum_<nn::Projection>(m, "Projection",
                            "How queries, keys and values are made. Equal weights give equal results.")
      .value("combined", nn::Projection::combined, "one [(H+G)·D + G·Dv, C] matrix, one product")
      .value("split", nn::Projection::split,
             "own matrices for each head: heads can be frozen, replaced, removed");
  nb::enum_<nn::HeadInput>(m, "HeadInput", "What each head sees of the input's columns.")
      .value("full", nn::HeadInput::full, "all of them (Vaswani 2017)")
      .value("slice", nn::HeadInput::slice, "head h gets columns h·C/H … (h+1)·C/H - 1");

  using Head = MultiHeadAttention::Head;
  nb::class_<Head>(m, "Head",
                   "One head's parameters: the tensors themselves when split, views when combined.")
      .def_ro("query_weight", &Head::query_weight, "[D, C]")
      .def_ro("key_weight", &Head::key_weight, "[D, key_dim]")
      .def_ro("value_weight", &Head::value_weight, "[Dv, value_dim]")
      .def_prop_ro(
          "query_bias", [](const Head& self) { return optional(self.query_bias); }, "[D], or None")
      .def_prop_ro(
          "key_bias", [](const Head& self) { return optional(self.key_bias); }, "[D], or None")
      .def_prop_ro(
          "value_bias", [](const Head& self) { return optional(self.value_bias); }, "[Dv], or None")
      .def_ro("output_weight", &Head::output_weight, "[C, Dv]: this head's columns of the output projection");

  nb::class_<MultiHeadAttention, nn::Module> c(
      m, "MultiHeadAttention",
      "Multi-head attention (Vaswani 2017, section 3.2.2): project to "
      "heads, attend in each, concatenate, project back.");
  bind_options<MultiHeadAttention>(c, &attention_keywords);
  c.def(
       "__init__",
       [](MultiHeadAttention* self, std::int64_t model_dim, std::int64_t heads, std::int64_t kv_heads,
          std::int64_t head_dim, std::int64_t value_head_dim, std::int64_t key_dim, std::int64_t value_dim,
          bool bias, double dropout, nn::Projection projection, nn::HeadInput head_input,
          std::optional<double> scale, double softcap, const Position* position, Generator& generator) {
         new (self) MultiHeadAttention({.model_dim = model_dim,
                                        .heads = heads,
                                        .kv_heads = kv_heads,
                                        .head_dim = head_dim,
                                        .value_head_dim = value_head_dim,
                                        .key_dim = key_dim,
                                        .value_dim = value_dim,
                                        .bias = bias,
                                        .dropout = dropout,
                                        .projection = projection,
                                        .head_input = head_input,
                                        .scale = scale,
                                        .softcap = softcap,
                                        .position = position ? *position : Position()},
                                       generator);
       },
       "model_dim"_a, "heads"_a, nb::kw_only(), "kv_heads"_a = 0, "head_dim"_a = 0, "value_head_dim"_a = 0,
       "key_dim"_a = 0, "value_dim"_a = 0, "bias"_a = true, "dropout"_a = 0.0,
       "projection"_a = nn::Projection::combined, "head_input"_a = nn::HeadInput::full,
       "scale"_a = nb::none(), "softcap"_a = 0.0, "position"_a = nb::none(), "generator"_a,
       "Args:\n    model_dim: C, width of the query input and of the output.\n    heads: H.\n"
       "    kv_heads: G, dividing H; 0: H (Ainslie et al. 2023; 1: Shazeer 2019).\n"
       "    head_dim: D; 0: C/H.\n    value_head_dim: Dv; 0: D.\n"
       "    key_dim, value_dim: widths of the key and value inputs; 0: C.\n"
       "    dropout: of the attention weights, in training.\n"
       "    position: of every call, steps over a cache among them.\n"
       "    generator: draws the weights: Xavier-uniform for each head by itself; biases 0.\n\n"
       "Raises:\n    Error: (shape) naming the field where sizes do not fit.")
      .def("__call__", &attend, "query"_a, "key"_a = nb::none(), "value"_a = nb::none(), nb::kw_only(),
           "mask"_a = nb::none(), "bias"_a = nb::none(), "position"_a = nb::none(),
           "query_offsets"_a = nb::none(), "key_offsets"_a = nb::none(), "capture"_a = nb::none(),
           "Self-attention of the query alone; cross-attention with a key (and a value, which is the key "
           "unless given).\n\n"
           "Args:\n    query: [B, T, C], or packed [N, C] with offsets (without: one sequence).\n"
           "    key: [B, S, key_dim], value: [B, S, value_dim].\n    mask: a Mask or a TilePlan.\n"
           "    bias: added to the scores, broadcast to [B, H, T, S].\n"
           "    position: in place of the layer's.\n    capture: Capture(weights=…) for an Attended with "
           "them.\n\n"
           "Returns:\n    The query's shape; with `capture` an Attended that holds it.")
      .def(
          "step",
          [](MultiHeadAttention& self, nb::handle x, nn::KeyValueCache& cache) {
            const Tensor in = import_array("MultiHeadAttention", "x", x).detach();
            Tensor out;
            {
              const nb::gil_scoped_release release;
              const NoGrad silent;
              out = self.step(in, cache);
            }
            return export_like(out, x);
          },
          "x"_a, "cache"_a,
          "Causal self-attention of new positions [R, T, C] over everything in the cache, which they join. "
          "Evaluation only.")
      .def("to", &MultiHeadAttention::to, "projection"_a,
           "Changes the layout of the weights without changing the function. Gradients are dropped, "
           "parameters renewed.")
      .def_static(
          "from_torch", [](nb::handle layer) { return converted("from_torch", layer); }, "layer"_a,
          nb::sig("def from_torch(layer: object) -> MultiHeadAttention"),
          "A torch.nn.MultiheadAttention with copies of its weights. Ours takes [B, T, C] whatever the "
          "layer's "
          "batch_first "
          "says.\n\nRaises:\n    Error: (unsupported) naming add_bias_kv or add_zero_attn.")
      .def_static(
          "from_keras", [](nb::handle layer) { return converted("from_keras", layer); }, "layer"_a,
          nb::sig("def from_keras(layer: object) -> MultiHeadAttention"),
          "A keras.layers.MultiHeadAttention that was built, with copies of its weights. Keras calls it with "
          "(query, value, "
          "key), ours with (query, key, value).\n\n"
          "Raises:\n    Error: (unsupported) naming attention_axes or output_shape.")
      .def(
          "to_torch", [](nb::handle self) { return converted("to_torch", self); },
          nb::sig("def to_torch(self) -> object"),
          "A torch.nn.MultiheadAttention of batch_first=True with copies of the weights.\n\n"
          "Raises:\n    Error: (unsupported) naming the option that PyTorch's layer does not have.")
      .def(
          "to_keras", [](nb::handle self) { return converted("to_keras", self); },
          nb::sig("def to_keras(self) -> object"),
          "A keras.layers.MultiHeadAttention with copies of the weights.\n\n"
          "Raises:\n    Error: (unsupported) naming the option that Keras's layer does not have.")
      .def("head", &MultiHeadAttention::head, "index"_a, nb::keep_alive<0, 1>(), "One head's parameters.");
}

nn::LayerOptions layer_options(std::int64_t model_dim, std::int64_t heads, std::int64_t kv_heads,
                               std::int64_t feed_forward_dim, nn::FeedForwardKind feed_forward,
                               nn::NormPlacement norm, nn::NormKind norm_kind, double dropout,
                               double attention_dropout, double activation_dropout,
                               nn::Projection projection) {
  return {.model_dim = model_dim,
          .heads = heads,
          .kv_heads = kv_heads,
          .feed_forward_dim = feed_forward_dim,
          .feed_forward = feed_forward,
          .norm = norm,
          .norm_kind = norm_kind,
          .dropout = dropout,
          .attention_dropout = attention_dropout,
          .activation_dropout = activation_dropout,
          .projection = projection};
}

// Layers work on packed rows: a padded batch [B, T, C] is B sequences of T of them.
struct Rows {
  Tensor tensor;
  List offsets;
  Rows(const char* operation, const char* argument, nb::handle array, const Offsets& given)
      : tensor(import_array(operation, argument, array)) {
    if (tensor.rank() == 3 && !given) {
      for (std::int64_t b = 0; b <= tensor.size(0); ++b) offsets.push_back(b * tensor.size(1));
    } else if (tensor.rank() == 2) {
      offsets = given ? *given : List{0, tensor.size(0)};
    } else {
      fail(ErrorCode::shape, operation,
           fmt::format("{} is {}; want [B, T, C], or [N, C] with offsets", argument, tensor.describe()));
    }
  }
  Tensor packed() const { return tensor.rank() == 2 ? tensor : reshape(tensor, {-1, tensor.size(2)}); }
  Tensor like_input(const Tensor& out) const {
    return tensor.rank() == 2 ? out : reshape(out, tensor.shape());
  }
};

template <typename Layer>
Options layer_keywords(const Layer& self) {
  const nn::LayerOptions& options = self.options();
  Options of;
  of["model_dim"] = options.model_dim;
  of["heads"] = options.heads;
  of["kv_heads"] = options.kv_heads;
  of["feed_forward_dim"] = options.feed_forward_dim;
  of["feed_forward"] = options.feed_forward;
  of["norm"] = options.norm;
  of["norm_kind"] = options.norm_kind;
  of["dropout"] = options.dropout;
  of["attention_dropout"] = options.attention_dropout;
  of["activation_dropout"] = options.activation_dropout;
  of["projection"] = options.projection;
  return of;
}

template <typename Layer>
auto layer_class(nb::module_& m, const char* name, const char* doc) {
  nb::class_<Layer, nn::Module> c(m, name, doc);
  bind_options<Layer>(c, &layer_keywords<Layer>);
  return c.def(
      "__init__",
      [](Layer* self, std::int64_t model_dim, std::int64_t heads, std::int64_t feed_forward_dim,
         std::int64_t kv_heads, nn::FeedForwardKind feed_forward, nn::NormPlacement norm,
         nn::NormKind norm_kind, double dropout, double attention_dropout, double activation_dropout,
         nn::Projection projection, Generator& generator) {
        new (self) Layer(layer_options(model_dim, heads, kv_heads, feed_forward_dim, feed_forward, norm,
                                       norm_kind, dropout, attention_dropout, activation_dropout, projection),
                         generator);
      },
      "model_dim"_a, "heads"_a, "feed_forward_dim"_a, nb::kw_only(), "kv_heads"_a = 0,
      "feed_forward"_a = nn::FeedForwardKind::relu, "norm"_a = nn::NormPlacement::pre,
      "norm_kind"_a = nn::NormKind::layer, "dropout"_a = 0.0, "attention_dropout"_a = 0.0,
      "activation_dropout"_a = 0.0, "projection"_a = nn::Projection::combined, "generator"_a);
}

void bind_layers(nb::module_& m) {
  nb::enum_<nn::NormPlacement>(m, "NormPlacement", "Where a block normalizes.")
      .value("pre", nn::NormPlacement::pre,
             "x + f(norm(x)); the stack ends in a norm of its own (Xiong et al. 2020)")
      .value("post", nn::NormPlacement::post, "norm(x + f(x)) (Vaswani 2017)")
      .value("both", nn::NormPlacement::both, "x + norm₂(f(norm₁(x))) (Gemma 2)")
      .value("output", nn::NormPlacement::output, "x + norm(f(x)) (OLMo 2)");
  layer_class<nn::EncoderLayer>(m, "EncoderLayer",
                                "Self-attention, then feed-forward (Vaswani 2017, section 3.1).")
      .def(
          "__call__",
          [](nn::EncoderLayer& self, nb::handle x, const Offsets& offsets) {
            const Rows rows("EncoderLayer", "x", x, offsets);
            return run_like(x, [&] { return rows.like_input(self(rows.packed(), rows.offsets)); });
          },
          "x"_a, "offsets"_a = nb::none(),
          "[B, T, C], or packed [N, C] with offsets [B+1] (without: one sequence), to the same shape.");
  layer_class<nn::DecoderLayer>(
      m, "DecoderLayer",
      "Causal self-attention, attention to the memory, then feed-forward (Vaswani 2017, section 3.1).")
      .def(
          "__call__",
          [](nn::DecoderLayer& self, nb::handle x, nb::handle memory, const Offsets& offsets,
             const Offsets& memory_offsets) {
            const Rows rows("DecoderLayer", "x", x, offsets);
            const Rows seen("DecoderLayer", "memory", memory, memory_offsets);
            return run_like(x, [&] {
              return rows.like_input(self(rows.packed(), {rows.offsets, seen.packed(), seen.offsets}));
            });
          },
          "x"_a, "memory"_a, "offsets"_a = nb::none(), "memory_offsets"_a = nb::none(),
          "x [B, T, C] and memory [B, S, C], or both packed with offsets [B+1], to x's shape.");
}

}  // namespace

void bind_multi_head_attention(nb::module_& m) {
  bind_attention_layer(m);
  bind_layers(m);
}

}  // namespace headway::python
