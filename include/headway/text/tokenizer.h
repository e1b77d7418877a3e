#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::text {

enum class TokenizerType { bpe, unigram, characters, words };
/// "bpe", "unigram", "char", "word"; Error(value) listing them for any other name.
HEADWAY_API TokenizerType tokenizer_type(std::string_view name);
HEADWAY_API std::string_view name_of(TokenizerType type);

/// identity keeps every character (decode(encode(x)) is x but for white space); nfkc also unifies compatible
/// forms
/// ("…" becomes "...", full-width letters become plain ones), as SentencePiece does by default.
enum class TokenizerNormalization { identity, nfkc };

struct TokenizerOptions {
  TokenizerType type = TokenizerType::bpe;
  int vocab_size = 8000;  ///< exactly; 0 with characters or words: as many as occur
  TokenizerNormalization normalization = TokenizerNormalization::identity;
  double character_coverage = 1;  ///< share of the text's characters that get a piece; the rest is unknown
  bool byte_fallback = false;  ///< spell unknown characters in bytes (256 more pieces), so nothing is unknown
};

inline constexpr std::int32_t kPad = 0;
inline constexpr std::int32_t kBos = 1;
inline constexpr std::int32_t kEos = 2;
inline constexpr std::int32_t kUnknown = 3;

/// Text to token ids and back, by SentencePiece. Immutable: copies share it, threads may use it at once. Text
/// must be valid UTF-8: encode() and train() throw Error(format) naming the byte. Encoding adds no begin or
/// end token.
class HEADWAY_API Tokenizer {
 public:
  /// Training uses one thread and no random numbers: the same sentences give the same pieces everywhere. A
  /// vocabulary larger or smaller than the sentences allow is an Error(value) that names the limit.
  static Tokenizer train(const std::vector<std::string>& sentences, const TokenizerOptions& options = {});
  /// Every line of every file is a sentence.
  static Tokenizer train_on_files(const std::vector<std::filesystem::path>& files,
                                  const TokenizerOptions& options = {});

  /// What save() wrote. It ends in a checksum (a field SentencePiece skips), so damage is an Error(format),
  /// always.
  static Tokenizer load(const std::filesystem::path& file);
  static Tokenizer from_bytes(std::string bytes);
  /// A model of another program, without our checksum, from a source you trust: SentencePiece does not
  /// survive every damaged file. Its ids of padding, begin, end and unknown must be 0, 1, 2, 3; else
  /// Error(unsupported).
  static Tokenizer import_model(const std::filesystem::path& file);

  /// A SentencePiece model file; atomic.
  void save(const std::filesystem::path& file) const;
  const std::string& to_bytes() const;

  std::vector<std::int32_t> encode(std::string_view text) const;
  /// In parallel.
  std::vector<std::vector<std::int32_t>> encode(const std::vector<std::string>& texts) const;
  std::vector<std::string> encode_pieces(std::string_view text) const;
  /// Control tokens give no text. Error(value) for an id outside the vocabulary.
  std::string decode(const std::vector<std::int32_t>& ids) const;

  std::int32_t vocab_size() const;
  /// The piece of an id; U+2581 stands for a blank.
  std::string piece(std::int32_t id) const;
  /// kUnknown when there is none.
  std::int32_t id(std::string_view piece) const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace headway::inline v1::text
