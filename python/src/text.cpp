#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <fmt/format.h>

#include <headway/text/bleu.h>
#include <headway/text/chrf.h>
#include <headway/text/tokenizer.h>

#include "array.h"
#include "bindings.h"

namespace headway::python {

using namespace nb::literals;

namespace {

using Strings = std::vector<std::string>;

void bind_tokenizer(nb::module_& m) {
  using text::Tokenizer;
  nb::enum_<text::TokenizerType>(m, "TokenizerType", "What pieces are.")
      .value("bpe", text::TokenizerType::bpe)
      .value("unigram", text::TokenizerType::unigram)
      .value("characters", text::TokenizerType::characters)
      .value("words", text::TokenizerType::words);
  nb::enum_<text::TokenizerNormalization>(m, "TokenizerNormalization", "What happens to text first.")
      .value("identity", text::TokenizerNormalization::identity, "keeps every character")
      .value("nfkc", text::TokenizerNormalization::nfkc,
             "unifies compatible forms, as SentencePiece does by default");
  nb::class_<Tokenizer>(
      m, "Tokenizer",
      "Text to token ids and back, by SentencePiece. Immutable; threads may use it at once. Encoding adds no "
      "begin or end token. Ids 0 to 3 are padding, begin, end and unknown.")
      .def_static(
          "train",
          [](const Strings& sentences, text::TokenizerType type, int vocab_size,
             text::TokenizerNormalization normalization, double character_coverage, bool byte_fallback) {
            const nb::gil_scoped_release release;
            return Tokenizer::train(sentences, {.type = type,
                                                .vocab_size = vocab_size,
                                                .normalization = normalization,
                                                .character_coverage = character_coverage,
                                                .byte_fallback = byte_fallback});
          },
          "sentences"_a, nb::kw_only(), "type"_a = text::TokenizerType::bpe, "vocab_size"_a = 8000,
          "normalization"_a = text::TokenizerNormalization::identity, "character_coverage"_a = 1.0,
          "byte_fallback"_a = false,
          "Args:\n    vocab_size: exactly; 0 with characters or words: as many as occur.\n"
          "    character_coverage: share of the text's characters that get a piece; the rest is unknown.\n"
          "    byte_fallback: spell unknown characters in bytes (256 more pieces).\n\n"
          "Raises:\n    Error: (value) naming the limit where the sentences do not allow the vocabulary, "
          "(format) naming the "
          "byte of what is not UTF-8.")
      .def_static("load", &Tokenizer::load, "path"_a,
                  "What save() wrote.\n\nRaises:\n    Error: (io), (format).")
      .def_static("import_model", &Tokenizer::import_model, "path"_a,
                  "A SentencePiece model of another program, from a source you trust. Its ids of padding, "
                  "begin, end and "
                  "unknown must be 0 to 3.")
      .def("save", &Tokenizer::save, "path"_a, "A SentencePiece model file, whole or not at all.")
      .def(
          "encode", [](const Tokenizer& self, const std::string& text) { return self.encode(text); },
          "text"_a)
      .def(
          "encode",
          [](const Tokenizer& self, const Strings& texts) {
            const nb::gil_scoped_release release;
            return self.encode(texts);
          },
          "texts"_a, "In parallel.")
      .def(
          "encode_pieces",
          [](const Tokenizer& self, const std::string& text) { return self.encode_pieces(text); }, "text"_a)
      .def("decode", &Tokenizer::decode, "ids"_a,
           "Control tokens give no text.\n\nRaises:\n    Error: (value) for an id outside the vocabulary.")
      .def_prop_ro("vocab_size", &Tokenizer::vocab_size)
      .def("piece", &Tokenizer::piece, "id"_a, "The piece of an id; U+2581 stands for a blank.")
      .def(
          "id", [](const Tokenizer& self, const std::string& piece) { return self.id(piece); }, "piece"_a,
          "3, unknown, when there is none.")
      .def("__len__", &Tokenizer::vocab_size)
      .def("__getstate__",
           [](const Tokenizer& self) { return nb::bytes(self.to_bytes().data(), self.to_bytes().size()); })
      .def("__setstate__", [](Tokenizer& self, const nb::bytes& bytes) {
        new (&self) Tokenizer(Tokenizer::from_bytes(std::string(bytes.c_str(), bytes.size())));
      });
}

// One list of references, or several of them.
text::References references_of(nb::handle references) {
  Strings single;
  if (nb::try_cast(references, single)) return {single};
  text::References out;
  if (nb::try_cast(references, out)) return out;
  fail(ErrorCode::value, "metrics",
       "references are a " + spelled_type(references) +
           "; want a list of sentences, or one such list for each reference");
}

void bind_bleu(nb::module_& m) {
  using text::BleuScore;
  nb::enum_<text::BleuTokenizer>(m, "BleuTokenizer", "How BLEU cuts sentences into words.")
      .value("none", text::BleuTokenizer::none)
      .value("v13a", text::BleuTokenizer::v13a, "mteval-v13a, the default of WMT")
      .value("intl", text::BleuTokenizer::intl)
      .value("chars", text::BleuTokenizer::chars);
  nb::class_<BleuScore>(m, "BleuScore", "A corpus's BLEU.")
      .def_ro("score", &BleuScore::score, "0 to 100")
      .def_ro("precisions", &BleuScore::precisions, "of 1- to 4-grams, 0 to 100")
      .def_ro("brevity_penalty", &BleuScore::brevity_penalty)
      .def("details", &BleuScore::details, "As sacreBLEU writes it.")
      .def("__repr__", [](const BleuScore& self) { return fmt::format("BleuScore({:.2f})", self.score); });
  nb::class_<text::Interval>(m, "Interval", "A 95 % interval by resampling sentences (Koehn 2004).")
      .def_ro("mean", &text::Interval::mean)
      .def_ro("low", &text::Interval::low)
      .def_ro("high", &text::Interval::high)
      .def_prop_ro("half_width", &text::Interval::half_width);
  m.def(
      "corpus_bleu",
      [](const Strings& hypotheses, nb::handle references, text::BleuTokenizer tokenizer, bool lowercase) {
        const text::References given = references_of(references);
        const nb::gil_scoped_release release;
        return text::corpus_bleu(hypotheses, given, {.tokenizer = tokenizer, .lowercase = lowercase});
      },
      "hypotheses"_a, "references"_a, nb::kw_only(), "tokenizer"_a = text::BleuTokenizer::v13a,
      "lowercase"_a = false,
      "BLEU = BP · exp(¼ Σₙ ln pₙ) (Papineni et al. 2002), as sacreBLEU counts it (Post 2018), smoothed like "
      "its default.\n\n"
      "Args:\n    references: a sentence for each hypothesis, or several such lists.\n\n"
      "Raises:\n    Error: (value) for lists of unequal length, (format) for text that is not UTF-8.");
  m.def(
      "bleu_interval",
      [](const Strings& hypotheses, nb::handle references, text::BleuTokenizer tokenizer, bool lowercase,
         int samples, std::uint64_t seed) {
        const text::References given = references_of(references);
        const nb::gil_scoped_release release;
        const text::BleuOptions options{.tokenizer = tokenizer, .lowercase = lowercase};
        return text::bleu_interval(text::bleu_counts(hypotheses, given, options), options,
                                   {.samples = samples, .seed = seed});
      },
      "hypotheses"_a, "references"_a, nb::kw_only(), "tokenizer"_a = text::BleuTokenizer::v13a,
      "lowercase"_a = false, "samples"_a = 1000, "seed"_a = 12345,
      "How far BLEU would vary with other sentences.");
  m.def(
      "bleu_signature",
      [](std::size_t references, text::BleuTokenizer tokenizer, bool lowercase) {
        return text::bleu_signature({.tokenizer = tokenizer, .lowercase = lowercase}, references);
      },
      nb::kw_only(), "references"_a = 1, "tokenizer"_a = text::BleuTokenizer::v13a, "lowercase"_a = false,
      "What must be said beside a score: "
      "\"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:headway-…\".");
}

void bind_chrf(nb::module_& m) {
  m.def(
      "corpus_chrf",
      [](const Strings& hypotheses, nb::handle references, int char_order, int word_order, int beta,
         bool lowercase) {
        const text::References given = references_of(references);
        const nb::gil_scoped_release release;
        return text::corpus_chrf(
            hypotheses, given,
            {.char_order = char_order, .word_order = word_order, .beta = beta, .lowercase = lowercase});
      },
      "hypotheses"_a, "references"_a, nb::kw_only(), "char_order"_a = 6, "word_order"_a = 0, "beta"_a = 2,
      "lowercase"_a = false,
      "chrF, 0 to 100 (Popović 2015); word_order 2 is chrF++ (2017).\n\nRaises:\n    Error: as "
      "corpus_bleu().");
}

}  // namespace

void bind_text(nb::module_& m) {
  bind_tokenizer(m);
  bind_bleu(m);
  bind_chrf(m);
}

}  // namespace headway::python
