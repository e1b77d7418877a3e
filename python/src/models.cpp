#include <cstdint>
#include <filesystem>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <fmt/format.h>

#include <headway/models/decoding.h>
#include <headway/models/transformer.h>
#include <headway/train/batches.h>
#include <headway/train/translator.h>

#include "bindings.h"
#include "call.h"
#include "pickle.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using models::DecodingOptions;
using models::Transformer;
using Ids = std::vector<std::int32_t>;
using Sentences = std::vector<Ids>;

Tensor loss(Transformer& self, const Sentences& sources, const Sentences& targets, double label_smoothing,
            std::int32_t bos, std::int32_t eos) {
  if (sources.size() != targets.size() || sources.empty()) {
    fail(ErrorCode::shape, "Transformer.loss",
         fmt::format("{} sources and {} targets; want as many, and at least one", sources.size(),
                     targets.size()));
  }
  std::vector<train::Example> examples;
  for (std::size_t i = 0; i < sources.size(); ++i) examples.push_back({sources[i], targets[i]});
  std::vector<std::int64_t> all(examples.size());
  std::iota(all.begin(), all.end(), 0);
  const train::Batch batch = train::make_batch(examples, all, {.bos = bos, .eos = eos});
  return self.loss({.source = batch.source,
                    .target_in = batch.target_in,
                    .target_out = batch.target_out,
                    .source_offsets = batch.source_offsets,
                    .target_offsets = batch.target_offsets},
                   label_smoothing);
}

nb::typed<nb::list, nb::any> arrays(const std::vector<Tensor>& maps) {
  nb::list out;
  for (const Tensor& map : maps) out.append(to_numpy(map));
  return out;
}

void bind_decoding(nb::module_& m) {
  using models::Sampling;
  nb::class_<Sampling>(m, "Sampling", "Draws tokens instead of searching for the best.")
      .def(
          "__init__",
          [](Sampling* self, double temperature, std::int64_t top_k, double top_p, std::uint64_t seed) {
            new (self) Sampling{.temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = seed};
          },
          nb::kw_only(), "temperature"_a = 1.0, "top_k"_a = 0, "top_p"_a = 1.0, "seed"_a = 0,
          "Args:\n    temperature: logits are divided by it.\n    top_k: only the k most probable tokens; 0: "
          "all.\n"
          "    top_p: of those, the fewest that hold this share of the probability (Holtzman et al. 2020).");
  using models::Hypothesis;
  nb::class_<Hypothesis>(m, "Hypothesis", "One way to translate a sentence.")
      .def_ro("tokens", &Hypothesis::tokens, "without start and end token")
      .def_ro("log_probability", &Hypothesis::log_probability, "of the tokens and the end token")
      .def_ro("score", &Hypothesis::score, "log_probability / length^length_penalty");
}

template <typename... Extra>
void bind_transformer_calls(nb::class_<Transformer, Extra...>& c) {
  c.def(
       "encode",
       [](Transformer& self, nb::handle ids, const std::vector<std::int64_t>& offsets) {
         const Tensor in = import_array("Transformer.encode", "ids", ids);
         return run_like(ids, [&] { return self.encode(in, offsets); });
       },
       "ids"_a, "offsets"_a,
       "Packed source ids [N] int32, sentence b at offsets[b] … offsets[b + 1] - 1, to memory [N, C].")
      .def(
          "loss",
          [](Transformer& self, const Sentences& sources, const Sentences& targets, double label_smoothing,
             std::int32_t bos, std::int32_t eos) {
            const nb::gil_scoped_release release;
            return loss(self, sources, targets, label_smoothing, bos, eos);
          },
          "sources"_a, "targets"_a, nb::kw_only(), "label_smoothing"_a = 0.0, "bos"_a = 1, "eos"_a = 2,
          "Mean cross-entropy per target token of a batch of sentence pairs, on the tape: lists of ids, "
          "without marks. The "
          "batch is packed, so unequal lengths cost nothing.\n\n"
          "Raises:\n    Error: (value) for an id outside the vocabulary or a sentence longer than "
          "max_length.")
      .def(
          "decode",
          [](Transformer& self, const Sentences& sources, std::int64_t beam_size, double length_penalty,
             double patience, std::int64_t num_hypotheses, std::optional<models::Sampling> sampling,
             std::int64_t max_length, std::int32_t bos, std::int32_t eos) {
            const nb::gil_scoped_release release;
            return models::decode(self, sources,
                                  {.beam_size = beam_size,
                                   .length_penalty = length_penalty,
                                   .patience = patience,
                                   .num_hypotheses = num_hypotheses,
                                   .sampling = sampling,
                                   .max_length = max_length,
                                   .bos = bos,
                                   .eos = eos,
                                   .suppress = {}});
          },
          "sources"_a, nb::kw_only(), "beam_size"_a = 1, "length_penalty"_a = 1.0, "patience"_a = 1.0,
          "num_hypotheses"_a = 1, "sampling"_a = nb::none(), "max_length"_a = 256, "bos"_a = 1, "eos"_a = 2,
          "For each sentence its hypotheses, best first. Evaluation only.\n\n"
          "Args:\n    beam_size: 1 is greedy.\n    patience: a search ends with beam_size·patience finished "
          "hypotheses "
          "(Kasai et al. 2022).\n    sampling: draws instead of searching.")
      .def(
          "attention_maps",
          [](Transformer& self, const Ids& source, const Ids& target) {
            models::AttentionMaps maps;
            {
              const nb::gil_scoped_release release;
              maps = self.inspect_attention(source, target);
            }
            nb::typed<nb::dict, std::string, nb::list> out;
            out["encoder_self"] = arrays(maps.encoder_self);
            out["decoder_self"] = arrays(maps.decoder_self);
            out["cross"] = arrays(maps.cross);
            return out;
          },
          "source"_a, "target"_a,
          "Who looks at whom in one pair: \"encoder_self\", \"decoder_self\" and \"cross\", for each layer "
          "[H, T, S] float32. "
          "`target` as it enters the decoder, with the start token. Evaluation only.");
}

Options transformer_keywords(const Transformer& self) {
  const models::TransformerOptions& options = self.options();
  Options of;
  of["source_vocab"] = options.source_vocab;
  of["target_vocab"] = options.target_vocab;
  of["model_dim"] = options.model_dim;
  of["heads"] = options.heads;
  of["kv_heads"] = options.kv_heads;
  of["encoder_layers"] = options.encoder_layers;
  of["decoder_layers"] = options.decoder_layers;
  of["feed_forward_dim"] = options.feed_forward_dim;
  of["max_length"] = options.max_length;
  of["norm"] = options.norm;
  of["norm_kind"] = options.norm_kind;
  of["positions"] = options.positions;
  of["activation"] = options.activation;
  of["projection"] = options.projection;
  of["dropout"] = options.dropout;
  of["attention_dropout"] = options.attention_dropout;
  of["activation_dropout"] = options.activation_dropout;
  of["tie_embeddings"] = options.tie_embeddings;
  of["share_source"] = options.share_source;
  of["precision"] = options.precision;
  of["checkpoint_activations"] = options.checkpoint_activations;
  return of;
}

void bind_transformer(nb::module_& m) {
  nb::enum_<nn::PositionKind>(m, "PositionKind", "The vectors added to the embeddings of a model.")
      .value("sinusoidal", nn::PositionKind::sinusoidal, "constant (Vaswani 2017, section 3.5)")
      .value("learned", nn::PositionKind::learned);
  nb::class_<Transformer, nn::Module> c(
      m, "Transformer",
      "The encoder-decoder Transformer (\"Attention is all you need\", Vaswani et al. 2017). "
      "Batches are packed, so padding costs nothing.");
  c.def(
      "__init__",
      [](Transformer* self, std::int64_t source_vocab, std::int64_t target_vocab, std::int64_t model_dim,
         std::int64_t heads, std::int64_t kv_heads, std::int64_t encoder_layers, std::int64_t decoder_layers,
         std::int64_t feed_forward_dim, std::int64_t max_length, nn::NormPlacement norm,
         nn::NormKind norm_kind, nn::PositionKind positions, nn::FeedForwardKind activation,
         nn::Projection projection, double dropout, double attention_dropout, double activation_dropout,
         bool tie_embeddings, bool share_source, DType precision, bool checkpoint_activations,
         Generator& generator) {
        const models::TransformerOptions options{.source_vocab = source_vocab,
                                                 .target_vocab = target_vocab,
                                                 .model_dim = model_dim,
                                                 .heads = heads,
                                                 .kv_heads = kv_heads,
                                                 .encoder_layers = encoder_layers,
                                                 .decoder_layers = decoder_layers,
                                                 .feed_forward_dim = feed_forward_dim,
                                                 .max_length = max_length,
                                                 .norm = norm,
                                                 .norm_kind = norm_kind,
                                                 .positions = positions,
                                                 .activation = activation,
                                                 .projection = projection,
                                                 .dropout = dropout,
                                                 .attention_dropout = attention_dropout,
                                                 .activation_dropout = activation_dropout,
                                                 .tie_embeddings = tie_embeddings,
                                                 .share_source = share_source,
                                                 .precision = precision,
                                                 .checkpoint_activations = checkpoint_activations};
        check(options);
        new (self) Transformer(options, generator);
      },
      nb::kw_only(), "source_vocab"_a, "target_vocab"_a, "model_dim"_a = 256, "heads"_a = 4, "kv_heads"_a = 0,
      "encoder_layers"_a = 3, "decoder_layers"_a = 3, "feed_forward_dim"_a = 1024, "max_length"_a = 512,
      "norm"_a = nn::NormPlacement::pre, "norm_kind"_a = nn::NormKind::layer,
      "positions"_a = nn::PositionKind::sinusoidal, "activation"_a = nn::FeedForwardKind::relu,
      "projection"_a = nn::Projection::combined, "dropout"_a = 0.1, "attention_dropout"_a = 0.0,
      "activation_dropout"_a = 0.0, "tie_embeddings"_a = true, "share_source"_a = false,
      "precision"_a = DType::float32, "checkpoint_activations"_a = false, "generator"_a,
      "Args:\n    model_dim: C.\n    heads: H, dividing C.\n    kv_heads: G, dividing H; 0: H.\n"
      "    max_length: of a sentence, source or target.\n"
      "    tie_embeddings: one table for target embedding and output projection (Press & Wolf 2017).\n"
      "    share_source: the source embedding, too.\n"
      "    precision: float32 or bfloat16, of activations.\n"
      "    checkpoint_activations: less memory, a third more time, the same bits.\n\n"
      "Raises:\n    Error: (value) or (shape) naming the field that cannot be.");
  bind_options<Transformer>(c, &transformer_keywords);
  bind_transformer_calls(c);
}

void bind_translator(nb::module_& m) {
  using train::Translator;
  nb::class_<Translator> c(m, "Translator", "A trained model and its tokenizer: text in, text out.");
  refuse_pickling(c, "Translator", "its folder, loaded again");
  c.def_static("load", &Translator::load, "path"_a,
               "A run's folder (its best checkpoint, else its latest) or one checkpoint, as `headway "
               "train` writes them."
               "\n\nRaises:\n    Error: (io) or (format) for what is missing or damaged.")
      .def(
          "translate",
          [](const Translator& self, const std::vector<std::string>& sentences,
             std::optional<std::int64_t> beam_size) {
            DecodingOptions options = self.config().decoding;
            if (beam_size) options.beam_size = *beam_size;
            const nb::gil_scoped_release release;
            return self.translate(sentences, options);
          },
          "sentences"_a, nb::kw_only(), "beam_size"_a = nb::none(),
          "The best translation of each sentence, in order. beam_size: the run's own unless given; 1 is "
          "greedy.")
      .def_prop_ro("model", &Translator::model, nb::rv_policy::reference_internal)
      .def_prop_ro("tokenizer", &Translator::tokenizer);
}

}  // namespace

void bind_models(nb::module_& m) {
  bind_decoding(m);
  bind_transformer(m);
  bind_translator(m);
}

}  // namespace headway::python
