#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::text {

/// Tokens of a text, or of a pair of texts. All vectors have one entry for each token.
struct Encoding {
  std::vector<std::int32_t> ids;
  /// 0 and 1 where the model tells the two texts of a pair apart (BERT's token_type_ids).
  std::vector<std::int32_t> type_ids;
  struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool operator==(const Range&) const = default;
  };
  /// The bytes of the original text that each token stands for; (0, 0) for tokens that were put around it.
  std::vector<Range> offsets;
  /// Index of the word (a piece of the pre-tokenizer) that each token is part of; -1 for added ones.
  std::vector<std::int32_t> words;
  /// 0 for tokens of the first text, 1 for those of the second, -1 for tokens put around them.
  std::vector<std::int32_t> sequences;
  /// Tokens that were cut off to keep to max_length; of both texts together.
  std::size_t truncated = 0;

  std::size_t size() const { return ids.size(); }
  /// Whether the token was put around the text ([CLS], <s>), not found in it.
  bool is_special(std::size_t i) const { return sequences[i] < 0; }
};

struct EncodeOptions {
  bool add_special_tokens = true;
  /// The second text of a pair (BERT's next sentence, natural language inference).
  std::optional<std::string_view> pair = {};
  static constexpr std::int64_t kFileLength = -1;
  /// Tokens at most, those put around included. 0: no limit; kFileLength: what the tokenizer's own file says.
  /// Of a pair the longer text is shortened first, unless the file names another strategy.
  std::int64_t max_length = kFileLength;
  /// Whether special tokens that are spelled out in the text count as such. False for text from strangers,
  /// who could otherwise end a turn of a chat: they are then cut like any other text.
  bool special_in_text = true;
};

/// What a GGUF file says of its vocabulary; the names are those of its keys (tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  ///< "gpt2" (byte-level BPE), "llama" (SentencePiece BPE), "bert" (WordPiece)
  std::string pre;    ///< which expression cuts words: "smollm", "llama-bpe", "qwen2" …
  std::vector<std::string> tokens;
  std::vector<float> scores;        ///< of "llama"; else empty
  std::vector<std::int32_t> types;  ///< 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<std::string> merges;  ///< of "gpt2": "left right"
  std::optional<std::int32_t> bos, eos, eot, unknown, separator, padding, cls, mask;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string chat_template;
};

/// The tokens that models give a meaning to; nullopt where the tokenizer has none.
struct SpecialTokens {
  std::optional<std::int32_t> bos, eos, padding, unknown, cls, separator, mask;
};

/// The tokenizer of a published model: text to token ids and back, as Hugging Face's `tokenizers` does it, id
/// for id and offset for offset. Immutable: copies share it, threads may use it at once.
///
/// Text must be valid UTF-8 below 1 GiB: else Error(format) and Error(value). Every part of a file that is
/// not understood is an Error(unsupported) that names it; damaged files are Error(format). Memory while
/// loading: at most 64 bytes for each byte of the files, and 64 MiB.
class HEADWAY_API HubTokenizer {
 public:
  /// A folder of the Hugging Face kind, or one of its files. In this order: tokenizer.json; vocab.txt
  /// (WordPiece); vocab.json and merges.txt (byte-level BPE); source.spm, target.spm and vocab.json (Marian);
  /// spiece.model, sentencepiece.bpe.model, tokenizer.model (SentencePiece). tokenizer_config.json,
  /// special_tokens_map.json and added_tokens.json beside them are read too. Error(io) where there is none.
  static HubTokenizer load(const std::filesystem::path& folder_or_file);
  /// The text of a tokenizer.json; `what` names it in errors.
  static HubTokenizer from_json(std::string_view json, std::string_view what = "tokenizer.json");
  /// Error(unsupported) naming a `model` or `pre` that is not known.
  static HubTokenizer from_gguf(const GgufVocabulary& vocabulary);

  /// What a GGUF file says of this tokenizer, with `size` tokens (0: its own; unused ones fill up): from a
  /// GGUF file, from a SentencePiece BPE model (tokenizer.model), from the byte-level BPE of a
  /// tokenizer.json. The result is tried on texts first; Error(unsupported) naming what GGUF cannot say.
  GgufVocabulary to_gguf(std::int32_t size = 0) const;

  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// In parallel.
  std::vector<Encoding> encode(const std::vector<std::string>& texts,
                               const EncodeOptions& options = {}) const;
  /// Ids that are in no vocabulary give no text, as with `tokenizers`; models often have more outputs than
  /// there are tokens.
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens = true) const;

  /// nullopt: there is no such token.
  std::optional<std::int32_t> id(std::string_view token) const;
  /// As it stands in the vocabulary ("##ing", "Ġthe", "▁the"). Error(value) where the id has none.
  std::string token(std::int32_t id) const;
  /// One more than the largest id.
  std::int32_t vocab_size() const;
  bool is_special(std::int32_t id) const;
  const SpecialTokens& special_tokens() const;
  /// Ids that end a text: the tokenizer's end-of-sequence token, and a GGUF file's end-of-turn token.
  const std::vector<std::int32_t>& end_ids() const;
  /// Whether encode() puts the begin-of-sequence token before a text.
  bool adds_bos() const;
  /// The Jinja text of tokenizer_config.json or chat_template.jinja; "" where there is none.
  const std::string& chat_template() const;
  /// Tokens that the model takes at most; nullopt where the files do not say.
  std::optional<std::int64_t> model_max_length() const;

  /// Writes the files that it came from, byte for byte, each whole or not at all. A tokenizer from a GGUF
  /// file becomes tokenizer.json and tokenizer_config.json.
  void save(const std::filesystem::path& folder) const;

  struct Impl;

 private:
  friend class StreamDecoder;
  explicit HubTokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Decodes tokens one at a time, for output while a model writes. The pieces, joined, are decode() of all
/// ids.
class HEADWAY_API StreamDecoder {
 public:
  explicit StreamDecoder(HubTokenizer tokenizer, bool skip_special_tokens = true);
  /// The text that is certain by now and was not given yet: whole characters, possibly none.
  std::string push(std::int32_t id);
  /// What is left when the text is over.
  std::string finish();

 private:
  std::string given_again() const;

  HubTokenizer tokenizer_;
  bool skip_special_;
  std::vector<std::int32_t> all_;
  std::vector<std::int32_t> window_;  // the last tokens given, and those not given yet
  std::size_t given_in_window_ = 0;
  std::size_t given_bytes_ = 0;
};

}  // namespace headway::inline v1::text
