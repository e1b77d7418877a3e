#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/hub/model.h>
#include <headway/jobs/chat.h>
#include <headway/jobs/classifier.h>
#include <headway/jobs/embedder.h>
#include <headway/jobs/exporter.h>
#include <headway/jobs/generator.h>
#include <headway/nn/task_head.h>
#include <headway/ops/views.h>

#include "array.h"
#include "bindings.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using Rows = std::vector<std::vector<std::int32_t>>;

hub::LoadOptions load_options(const std::string& dtype) {
  if (dtype == "float32") return {};
  if (dtype == "bfloat16") return {.precision = DType::bfloat16};
  fail(ErrorCode::value, "load", fmt::format("dtype is {}; want float32 or bfloat16", dtype));
}

models::PackedBatch batch_of(nb::handle input, const std::optional<Rows>& types) {
  nb::detail::make_caster<Rows> rows;
  if (rows.from_python(input, static_cast<std::uint8_t>(nb::detail::cast_flags::convert), nullptr)) {
    models::PackedBatch batch = models::pack(rows.value);
    if (types) {
      batch.types = models::pack(*types).ids;
      if (!(batch.types.shape() == batch.ids.shape())) {
        fail(ErrorCode::shape, "token_types",
             fmt::format("are {}; want one for each id, {}", batch.types.describe(), batch.ids.describe()));
      }
    }
    return batch;
  }
  models::PackedBatch batch;
  batch.images = import_array("hidden_states", "images", input);
  return batch;
}

std::vector<nb::object> arrays(const std::vector<Tensor>& tensors) {
  std::vector<nb::object> out;
  for (const Tensor& tensor : tensors) out.push_back(to_numpy(cast(tensor, DType::float32)));
  return out;
}

// What the output layer or head says; undefined where there is none.
Tensor logits_of(const hub::HubModel& model, const models::PackedBatch& batch,
                 const models::PackedBatch& targets) {
  const NoGrad no_grad;
  const std::string& architecture = model.architecture();
  if (model.encoder()) {
    const bool bare = architecture.empty() || architecture.ends_with("Model");
    return bare ? Tensor() : model.encoder()->scores(batch);
  }
  models::LanguageModel& lm = *model.language_model();
  if (lm.has_encoder())
    return targets.ids.defined() ? lm.logits(lm.hidden(targets, lm.encode(batch))) : Tensor();
  const Tensor hidden = lm.hidden(batch);
  return lm.logits(architecture.ends_with("ForSequenceClassification")
                       ? nn::pool(hidden, batch.offsets, nn::Pooling::last)
                       : hidden);
}

void bind_model(nb::module_& m) {
  using hub::HubModel;
  nb::class_<HubModel>(m, "HubModel",
                       "A model as its files describe it: a Hugging Face folder or a GGUF file.")
      .def(
          "__init__",
          [](HubModel* self, const std::string& spec, const std::string& dtype) {
            const nb::gil_scoped_release release;
            new (self) HubModel(HubModel::load(spec, load_options(dtype)));
          },
          "spec"_a, "dtype"_a = "float32")
      .def(
          "hidden_states",
          [](const HubModel& self, nb::handle input, const std::optional<Rows>& types,
             const std::optional<Rows>& decoder) -> nb::object {
            const models::PackedBatch batch = batch_of(input, types);
            std::vector<Tensor> states, target_states;
            {
              const nb::gil_scoped_release release;
              states = self.hidden_states(batch);
              if (decoder) target_states = self.hidden_states(batch, models::pack(*decoder));
            }
            if (decoder) return nb::make_tuple(nb::cast(arrays(states)), nb::cast(arrays(target_states)));
            return nb::cast(arrays(states));
          },
          "input"_a, nb::kw_only(), "token_types"_a = nb::none(), "decoder_ids"_a = nb::none(),
          "Every hidden state, float32 [N, C] each, of rows of ids (packed: N is the sum of their lengths) "
          "or of images "
          "[B, 3, height, width]. With decoder_ids a pair: the encoder's and the decoder's.")
      .def(
          "logits",
          [](const HubModel& self, nb::handle input, const std::optional<Rows>& types,
             const std::optional<Rows>& decoder) -> nb::object {
            const models::PackedBatch batch = batch_of(input, types);
            const models::PackedBatch targets = decoder ? models::pack(*decoder) : models::PackedBatch{};
            Tensor out;
            {
              const nb::gil_scoped_release release;
              out = logits_of(self, batch, targets);
            }
            return out.defined() ? to_numpy(cast(out, DType::float32)) : nb::none();
          },
          "input"_a, nb::kw_only(), "token_types"_a = nb::none(), "decoder_ids"_a = nb::none(),
          "What the output layer or head says, float32; None for a model without one.")
      .def(
          "generate_ids",
          [](const HubModel& self, const std::vector<std::int32_t>& prompt, std::int64_t max_new_tokens,
             double temperature, std::uint64_t seed, const std::vector<std::int32_t>& end) {
            if (!self.language_model())
              fail(ErrorCode::unsupported, "generate_ids",
                   fmt::format("a {} writes nothing", self.model_type()));
            models::GenerationOptions how{.max_new_tokens = max_new_tokens, .end = end};
            if (temperature > 0) how.sampling = models::Sampling{.temperature = temperature, .seed = seed};
            std::vector<std::int32_t> begin;
            if (self.generation().decoder_start) begin.push_back(*self.generation().decoder_start);
            const nb::gil_scoped_release release;
            return models::generate(*self.language_model(), {prompt}, how, {}, begin).front();
          },
          "prompt"_a, "max_new_tokens"_a = 64, "temperature"_a = 0.0, "seed"_a = 0,
          "end"_a = std::vector<std::int32_t>{},
          "New token ids after a prompt of ids; temperature 0: the most probable.")
      .def_prop_ro("model_type", &HubModel::model_type)
      .def_prop_ro("architecture", &HubModel::architecture)
      .def_prop_ro("config", &HubModel::config, "config.json's text.")
      .def_prop_ro("labels", &HubModel::labels)
      .def_prop_ro("notes", &HubModel::notes, "Fields of the configuration that were passed over.")
      .def_prop_ro("path", [](const HubModel& self) { return self.path().string(); })
      .def_prop_ro("end_ids", [](const HubModel& self) { return self.generation().end; })
      .def_prop_ro("writes", [](const HubModel& self) { return self.language_model() != nullptr; });
  m.def(
      "export_model",
      [](const std::string& spec, const std::filesystem::path& folder) {
        const nb::gil_scoped_release release;
        jobs::export_model(spec, folder);
      },
      "spec"_a, "folder"_a);
  m.def(
      "export_gguf",
      [](const std::string& spec, const std::filesystem::path& file, const std::string& weights) {
        const nb::gil_scoped_release release;
        jobs::export_gguf(spec, file, io::gguf_encoding(weights));
      },
      "spec"_a, "file"_a, "weights"_a);
}

using OnText = std::optional<std::function<bool(std::size_t, std::string)>>;

jobs::OnText with_gil(const OnText& on_text) {
  if (!on_text) return {};
  return [&on_text](std::size_t text, const std::string& piece) {
    const nb::gil_scoped_acquire acquire;
    return (*on_text)(text, piece);
  };
}

void bind_writing(nb::module_& m) {
  using Choices = jobs::WriteChoices;
  nb::class_<Choices>(m, "Writing", "How a text is written.")
      .def(
          "__init__",
          [](Choices* self, std::int64_t max_new_tokens, std::optional<double> temperature,
             std::optional<std::int64_t> top_k, std::optional<double> top_p, std::optional<double> min_p,
             std::optional<double> repetition_penalty, std::optional<double> presence_penalty,
             std::uint64_t seed, std::vector<std::string> stop) {
            new (self) Choices{max_new_tokens,     temperature,      top_k, top_p,          min_p,
                               repetition_penalty, presence_penalty, seed,  std::move(stop)};
          },
          "max_new_tokens"_a, "temperature"_a = nb::none(), "top_k"_a = nb::none(), "top_p"_a = nb::none(),
          "min_p"_a = nb::none(), "repetition_penalty"_a = nb::none(), "presence_penalty"_a = nb::none(),
          "seed"_a = 0, "stop"_a = std::vector<std::string>{});
  nb::class_<jobs::Generator>(m, "TextGenerator", "A language model with its tokenizer.")
      .def(
          "__init__",
          [](jobs::Generator* self, std::shared_ptr<hub::HubModel> model) {
            const nb::gil_scoped_release release;
            new (self) jobs::Generator(std::move(model));
          },
          "model"_a)
      .def(
          "write",
          [](const jobs::Generator& self, const std::vector<std::string>& prompts,
             const jobs::WriteChoices& writing, const OnText& on_text) {
            const nb::gil_scoped_release release;
            return self(prompts, self.options(writing), with_gil(on_text));
          },
          "prompts"_a, "writing"_a, "on_text"_a = nb::none())
      .def(
          "perplexity",
          [](const jobs::Generator& self, const std::string& text, std::int64_t context,
             std::int64_t stride) {
            const nb::gil_scoped_release release;
            const jobs::Perplexity p = self.perplexity(text, context, stride);
            return std::vector<double>{p.perplexity, p.loss, p.bits_per_byte, static_cast<double>(p.tokens),
                                       static_cast<double>(p.bytes)};
          },
          "text"_a, "context"_a = 0, "stride"_a = 0)
      .def(
          "classify",
          [](const jobs::Generator& self, const std::vector<std::pair<std::string, std::string>>& shots,
             const std::vector<std::string>& texts) {
            const nb::gil_scoped_release release;
            std::vector<jobs::Shot> examples;
            for (const auto& [text, label] : shots) examples.push_back({text, label});
            std::vector<std::vector<std::pair<std::string, double>>> out;
            for (jobs::Classified& of : jobs::classify_by_examples(self, examples, texts))
              out.push_back(std::move(of.classes));
            return out;
          },
          "shots"_a, "texts"_a);
  nb::class_<jobs::Chat>(m, "Conversation", "A conversation with a model that was taught one.")
      .def(nb::init<const jobs::Generator&, std::string>(), "model"_a, "system"_a = "",
           nb::keep_alive<1, 2>())
      .def(
          "__call__",
          [](jobs::Chat& self, const jobs::Generator& model, const std::string& message,
             const jobs::WriteChoices& writing, const OnText& on_text) {
            const nb::gil_scoped_release release;
            return self(message, model.options(writing), with_gil(on_text));
          },
          "model"_a, "message"_a, "writing"_a, "on_text"_a = nb::none())
      .def_prop_ro("messages", [](const jobs::Chat& self) {
        std::vector<std::pair<std::string, std::string>> out;
        for (const text::ChatMessage& message : self.messages())
          out.emplace_back(std::string(name_of(message.role)), message.content);
        return out;
      });
}

void bind_vectors(nb::module_& m) {
  nb::class_<jobs::Embedder>(m, "Embedder", "Texts to vectors.")
      .def(
          "__init__",
          [](jobs::Embedder* self, std::shared_ptr<hub::HubModel> model) {
            const nb::gil_scoped_release release;
            new (self) jobs::Embedder(std::move(model));
          },
          "model"_a)
      .def(
          "__call__",
          [](const jobs::Embedder& self, const std::vector<std::string>& texts, std::optional<bool> normalize,
             const std::string& prompt, const std::string& prompt_name, std::int64_t batch_tokens) {
            Tensor rows;
            {
              const nb::gil_scoped_release release;
              rows = self(texts, {.normalize = normalize,
                                  .prompt = prompt,
                                  .prompt_name = prompt_name,
                                  .batch_tokens = batch_tokens});
            }
            return to_numpy(rows);
          },
          "texts"_a, nb::kw_only(), "normalize"_a = nb::none(), "prompt"_a = "", "prompt_name"_a = "",
          "batch_tokens"_a = 8192)
      .def_prop_ro("width", &jobs::Embedder::width)
      .def_prop_ro("max_length", &jobs::Embedder::max_length)
      .def_prop_ro("cut", &jobs::Embedder::cut);
  nb::class_<jobs::Classifier>(m, "Classifier", "Texts, pairs or images to classes.")
      .def(
          "__init__",
          [](jobs::Classifier* self, std::shared_ptr<hub::HubModel> model) {
            const nb::gil_scoped_release release;
            new (self) jobs::Classifier(std::move(model));
          },
          "model"_a)
      .def(
          "__call__",
          [](const jobs::Classifier& self, const std::vector<std::string>& inputs) {
            const nb::gil_scoped_release release;
            const auto results =
                self.takes_images() ? self.images({inputs.begin(), inputs.end()}) : self.texts(inputs);
            std::vector<std::vector<std::pair<std::string, double>>> out;
            for (const jobs::Classified& of : results) out.push_back(of.classes);
            return out;
          },
          "inputs"_a)
      .def(
          "pairs",
          [](const jobs::Classifier& self, const std::vector<std::pair<std::string, std::string>>& pairs) {
            const nb::gil_scoped_release release;
            std::vector<std::vector<std::pair<std::string, double>>> out;
            for (const jobs::Classified& of : self.pairs(pairs)) out.push_back(of.classes);
            return out;
          },
          "pairs"_a);
}

}  // namespace

void bind_hub(nb::module_& m) {
  bind_model(m);
  bind_writing(m);
  bind_vectors(m);
}

}  // namespace headway::python
