#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <headway/models/transformer.h>

namespace headway::inline v1::inspect {

/// A sentence pair and who looked at whom in it. Tokens are shown as they are: SentencePiece's "▁" becomes a
/// blank.
struct PageExample {
  std::string source, translation;         ///< the sentences as text
  std::vector<std::string> source_tokens;  ///< [S] as they entered the encoder
  std::vector<std::string> target_tokens;  ///< [T] as they entered the decoder: the start token first
  std::vector<std::string>
      target_written;          ///< [T] what each position of the decoder wrote: the end token last
  models::AttentionMaps maps;  ///< of these tokens
};

struct PageOptions {
  std::string title = "What the heads look at";
  std::string subtitle = {};         ///< one line below: the model, its BLEU
  std::int64_t layer = 0, head = 0;  ///< of the cross-attention: shown first
};

/// One HTML file with everything in it: no network, no other file. Weights are held to 8 bits of their square
/// root, so a weight w is shown to within 0.004·√w + 4e-6. Error(shape) when maps and tokens do not fit each
/// other.
HEADWAY_API std::string heads_page(const std::vector<PageExample>& examples, const PageOptions& options = {});

/// heads_page() to a file, atomically.
HEADWAY_API void write_heads_page(const std::filesystem::path& path, const std::vector<PageExample>& examples,
                                  const PageOptions& options = {});

}  // namespace headway::inline v1::inspect
