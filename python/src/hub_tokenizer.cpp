#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/jobs/tokenizer.h>
#include <headway/text/chat_template.h>

#include "bindings.h"

namespace headway::python {

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using text::HubTokenizer;

// An encoding as Python has it: offsets count characters, not bytes.
struct PythonEncoding {
  std::vector<std::int32_t> ids, type_ids, words;
  std::vector<std::pair<std::size_t, std::size_t>> offsets;
  std::size_t truncated = 0;
};

// The number of characters before each byte of `text`, and behind the last.
std::vector<std::size_t> characters_before(const std::string& text) {
  std::vector<std::size_t> out{0};
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins_next = i + 1 == text.size() || (static_cast<unsigned char>(text[i + 1]) & 0xC0) != 0x80;
    out.push_back(out.back() + (begins_next ? 1 : 0));
  }
  return out;
}

PythonEncoding for_python(const text::Encoding& e, const std::string& text,
                          const std::optional<std::string>& pair) {
  PythonEncoding out{e.ids, e.type_ids, e.words, {}, e.truncated};
  const std::vector<std::size_t> first = characters_before(text),
                                 second = characters_before(pair.value_or(""));
  for (std::size_t i = 0; i < e.size(); ++i) {
    const std::vector<std::size_t>& before = e.sequences[i] == 1 ? second : first;
    const bool around = e.is_special(i);
    out.offsets.emplace_back(around ? 0 : before.at(e.offsets[i].begin),
                             around ? 0 : before.at(e.offsets[i].end));
  }
  return out;
}

text::EncodeOptions options_of(bool add_special_tokens, std::optional<std::int64_t> max_length,
                               bool special_in_text) {
  return {.add_special_tokens = add_special_tokens,
          .max_length = max_length.value_or(text::EncodeOptions::kFileLength),
          .special_in_text = special_in_text};
}

text::ChatRole role_of(const std::string& name) {
  for (const text::ChatRole role :
       {text::ChatRole::system, text::ChatRole::user, text::ChatRole::assistant}) {
    if (name == text::name_of(role)) return role;
  }
  fail(ErrorCode::value, "apply_chat_template",
       fmt::format("a role is \"{}\"; want system, user or assistant", name));
}

}  // namespace

void bind_hub_tokenizer(nb::module_& m) {
  nb::class_<PythonEncoding>(m, "Encoding", "Tokens of a text, or of a pair of texts.")
      .def_ro("ids", &PythonEncoding::ids)
      .def_ro("type_ids", &PythonEncoding::type_ids,
              "0 and 1 where the model tells the texts of a pair apart.")
      .def_ro("offsets", &PythonEncoding::offsets,
              "The characters of the text that each token stands for; (0, 0) for tokens put around it.")
      .def_ro("words", &PythonEncoding::words, "The word that each token is part of; -1 for added tokens.")
      .def_ro("truncated", &PythonEncoding::truncated, "Tokens that were cut off to keep to max_length.")
      .def("__len__", [](const PythonEncoding& self) { return self.ids.size(); });
  nb::class_<HubTokenizer>(m, "HubTokenizer",
                           "The tokenizer of a published model, as Hugging Face's `tokenizers` computes it, "
                           "id for id and offset for "
                           "offset. Immutable; threads may use it at once.")
      .def_static(
          "load", [](const std::string& spec) { return jobs::load_tokenizer(spec); }, "spec"_a,
          "A model's folder, a tokenizer file, a .gguf file, or ORG/NAME in the local cache.\n\nRaises:\n"
          "    Error: (io) where there is none, (format), (unsupported) naming what is not understood.")
      .def_static(
          "from_json", [](const std::string& json) { return HubTokenizer::from_json(json); }, "json"_a,
          "The text of a tokenizer.json.")
      .def(
          "encode",
          [](const HubTokenizer& self, const std::string& text, const std::optional<std::string>& pair,
             bool add_special_tokens, std::optional<std::int64_t> max_length, bool special_in_text) {
            text::EncodeOptions options = options_of(add_special_tokens, max_length, special_in_text);
            if (pair) options.pair = *pair;
            const nb::gil_scoped_release release;
            return for_python(self.encode(text, options), text, pair);
          },
          "text"_a, "pair"_a = nb::none(), nb::kw_only(), "add_special_tokens"_a = true,
          "max_length"_a = nb::none(), "special_in_text"_a = true,
          "Args:\n    max_length: tokens at most, those put around included; 0: no limit; None: what the "
          "file says.\n"
          "    special_in_text: whether special tokens spelled out in the text count as such. False for text "
          "from "
          "strangers.")
      .def(
          "encode_batch",
          [](const HubTokenizer& self, const std::vector<std::string>& texts, bool add_special_tokens,
             std::optional<std::int64_t> max_length, bool special_in_text) {
            const nb::gil_scoped_release release;
            const auto all = self.encode(texts, options_of(add_special_tokens, max_length, special_in_text));
            std::vector<PythonEncoding> out;
            for (std::size_t i = 0; i < all.size(); ++i) out.push_back(for_python(all[i], texts[i], {}));
            return out;
          },
          "texts"_a, nb::kw_only(), "add_special_tokens"_a = true, "max_length"_a = nb::none(),
          "special_in_text"_a = true, "Of many texts, in parallel.")
      .def("decode", &HubTokenizer::decode, "ids"_a, "skip_special_tokens"_a = true)
      .def(
          "token_to_id", [](const HubTokenizer& self, const std::string& token) { return self.id(token); },
          "token"_a, "None where there is no such token.")
      .def("id_to_token", &HubTokenizer::token, "id"_a, "As it stands in the vocabulary.")
      .def_prop_ro("vocab_size", &HubTokenizer::vocab_size, "One more than the largest id.")
      .def_prop_ro("end_ids", &HubTokenizer::end_ids, "Ids that end a text.")
      .def_prop_ro(
          "special_tokens",
          [](const HubTokenizer& self) {
            nb::dict out;
            const text::SpecialTokens& of = self.special_tokens();
            const std::pair<const char*, std::optional<std::int32_t>> all[] = {
                {"bos_token", of.bos},     {"eos_token", of.eos}, {"pad_token", of.padding},
                {"unk_token", of.unknown}, {"cls_token", of.cls}, {"sep_token", of.separator},
                {"mask_token", of.mask}};
            for (const auto& [name, id] : all) {
              if (id) out[name] = nb::str(self.token(*id).c_str());
            }
            return out;
          },
          "The tokens that have a meaning, by the names that Hugging Face gives them.")
      .def_prop_ro("chat_template", &HubTokenizer::chat_template, "The Jinja text; \"\" where there is none.")
      .def("save", &HubTokenizer::save, "folder"_a, "The files that it came from, each whole or not at all.")
      .def(
          "render_chat",
          [](const HubTokenizer& self, const std::vector<std::pair<std::string, std::string>>& messages,
             bool add_generation_prompt) {
            std::vector<text::ChatMessage> turns;
            for (const auto& [role, content] : messages) turns.push_back({role_of(role), content});
            return text::ChatTemplate::detect(self.chat_template(), self)
                .render(turns, add_generation_prompt);
          },
          "messages"_a, "add_generation_prompt"_a = true,
          "The text of a conversation of (role, content) as the model was taught to read it.\n\nRaises:\n"
          "    Error: (unsupported) for a template that is not known; (value) for what the template "
          "refuses.");
}

}  // namespace headway::python
