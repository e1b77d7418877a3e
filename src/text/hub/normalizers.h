#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "text/hub/aligned.h"
#include "text/hub/fields.h"

namespace headway::inline v1::text::hub {

/// A step that rewrites a text before it is cut: section "normalizer" of tokenizer.json.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(Aligned& text) const = 0;
};

std::shared_ptr<const Normalizer> read_normalizer(const Json& json, const std::string& where);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
/// Unicode normalization (UAX 15) with the tables of Unicode 9, as `tokenizers` has them.
void to_normal_form(Aligned& text, NormalForm form);

/// SentencePiece's rewriting rules: a double-array trie (darts-clone) from byte sequences to strings.
/// Format: 4 bytes little-endian size of the trie, the trie's 4-byte units, then strings that end in NUL.
class Charsmap {
 public:
  Charsmap(std::string bytes, const std::string& where);
  void apply(Aligned& text) const;

 private:
  bool rewritten(std::string_view part, std::string_view& to) const;

  std::vector<std::uint32_t> units_;
  std::string strings_;
};

std::string decode_base64(std::string_view text, const std::string& where);
std::string encode_base64(std::string_view bytes);

/// The 256 letters that stand for bytes in byte-level vocabularies (GPT-2's bytes_to_unicode), and back; -1
/// for a character that stands for none.
char32_t letter_of_byte(unsigned char byte);
int byte_of_letter(char32_t letter);

}  // namespace headway::inline v1::text::hub
