#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1::inspect {

/// A word among pieces: pieces first … last - 1.
struct Word {
  std::string text;
  std::size_t first = 0, last = 0;
};

/// The words of SentencePiece pieces. "▁" begins one; punctuation and control tokens ("<s>") belong to none.
HEADWAY_API std::vector<Word> words_of(const std::vector<std::string>& pieces);

/// While it writes `target`, a head looks most at `source`.
struct WordLink {
  std::string target, source;
  double weight = 0;  ///< of the source word's pieces together, averaged over the target word's
};

struct HeadAlignment {
  std::int64_t layer = 0, head = 0;  ///< counted from 0
  double peak = 0;                   ///< see best_alignment()
  std::vector<WordLink> links;       ///< in the order of the target; words that look at no word are left out
};

/// One sentence pair as cross-attention saw it.
struct AlignmentInput {
  std::vector<std::string> source_tokens;   ///< [S]
  std::vector<std::string> target_written;  ///< [T]: row t of a map is the step that wrote token t
  std::vector<Tensor> cross;                ///< for each layer [H, T, S]
};

/// The links of one head. A target word is left out when some other single token (the end token, a full stop)
/// holds more weight than every source word. Error(shape) when tokens and maps do not fit, Error(value) for a
/// head that is not there.
HEADWAY_API HeadAlignment align(const AlignmentInput& input, std::int64_t layer, std::int64_t head);

/// The head whose alignment is most peaked over all sentences together. `peak` of a head is
///     (sum over the source words that are looked at of the largest weight a link gives them) / (number of
///     target words):
/// 1 when every target word puts its whole weight on a source word of its own, low when a head spreads its
/// weight, and low too when it always looks at the same place, since a source word counts once however many
/// words look at it. Returns one alignment, of that head, for each sentence, with the common peak.
HEADWAY_API std::vector<HeadAlignment> best_alignment(const std::vector<AlignmentInput>& inputs);

}  // namespace headway::inline v1::inspect
