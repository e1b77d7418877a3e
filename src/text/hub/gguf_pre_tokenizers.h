#pragma once
#include <string_view>
#include <vector>

namespace headway::inline v1::text::hub {

/// How a byte-level tokenizer that GGUF calls by name (tokenizer.ggml.pre) cuts words.
struct GgufPreTokenizer {
  std::string_view names;  // separated by blanks
  std::vector<const char*> patterns;
  bool whole_words = false;  // a word that is a token stays whole, whatever the merges
  bool adds_bos = false;     // where the file does not say
  bool composed = false;     // NFC first
};

/// All that are known.
const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers();

}  // namespace headway::inline v1::text::hub
