#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/hub/tokenizer_impl.h"

namespace headway::inline v1::text::hub {

// Older file formats, rewritten as the tokenizer.json that describes the same tokenizer: as Hugging Face's
// converters do it, so that there is one implementation.

/// vocab.txt: a token a line.
Json from_vocab_txt(std::string_view vocabulary, const Config& config, const std::string& what);
/// vocab.json and merges.txt.
Json from_bpe_files(std::string_view vocabulary, std::string_view merges, const Config& config,
                    const std::string& what);

enum class SpmPieceType { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
struct SpmPiece {
  std::string piece;
  float score = 0;
  SpmPieceType type = SpmPieceType::normal;
};
/// A SentencePiece model file (sentencepiece_model.proto), as far as tokenizing needs it.
struct SpmModel {
  std::vector<SpmPiece> pieces;
  enum class Kind { unigram = 1, bpe = 2, word = 3, character = 4 } kind = Kind::unigram;
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  std::string charsmap;

  std::int32_t find(SpmPieceType type) const;  // the first of a type; -1: none
};
/// Error(format) for whatever is no such file.
SpmModel read_spm(std::string_view bytes, const std::string& what);

/// Who uses the SentencePiece file, which decides ids and what stands around a text.
enum class SpmFamily { t5, albert, xlm_roberta, llama };
Json from_spm(const SpmModel& model, SpmFamily family, const Config& config, const std::string& what);
/// Marian: pieces from source.spm, ids from vocab.json.
Json from_marian(const SpmModel& source, std::string_view vocabulary, const std::string& what);

/// Merges that lead to the scored tokens, best first.
Json merges_of(const std::vector<std::string>& tokens, const std::vector<float>& scores,
               const std::vector<bool>& reached);

/// {"id", "content", …} of section "added_tokens".
Json added_token(std::int64_t id, std::string_view content, bool special);
/// A TemplateProcessing of `before` text `after`; pairs repeat it, with `between` put between them.
struct Around {
  std::vector<std::string> before, between, after;
  std::int32_t second_type = 0;
};
Json template_processing(const Around& around, const Json& vocabulary, const std::string& what);

}  // namespace headway::inline v1::text::hub
