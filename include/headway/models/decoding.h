#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include <headway/models/language_model.h>

namespace headway::inline v1::models {

/// Draws tokens instead of searching for the best. Each hypothesis has a random stream of its own, addressed
/// by the sentence's place in the input, the hypothesis and the step: the same seed gives the same draws in
/// any batch.
struct Sampling {
  double temperature = 1;  ///< logits are divided by it; towards 0: greedy
  std::int64_t top_k = 0;  ///< only the k most probable tokens; 0: all
  double top_p = 1;  ///< of those, the fewest that hold this share of the probability (Holtzman et al. 2020)
  std::uint64_t seed = 0;
  double min_p = 0;  ///< only tokens of at least this share of the most probable one's (Nguyen et al. 2024);
                     ///< generate() alone
};

struct DecodingOptions {
  std::int64_t beam_size = 1;  ///< 1: greedy
  double length_penalty = 1;   ///< α: hypotheses are ranked by log-probability / length^α
  double patience = 1;  ///< a search ends with beam_size·patience finished hypotheses (Kasai et al. 2022)
  std::int64_t num_hypotheses =
      1;  ///< returned for each sentence, best first; when sampling, the number drawn
  std::optional<Sampling> sampling = {};
  std::int64_t max_length = 256;  ///< tokens generated at most, the end token among them
  double max_length_factor =
      3;  ///< nor more than factor·source length + extra: what runs away is stopped early.
  std::int64_t max_length_extra = 50;       ///< A factor of 0 leaves max_length alone
  std::int64_t min_length = 1;              ///< tokens before the end token may come
  std::int32_t bos = 1, eos = 2;            ///< start and end token
  std::vector<std::int32_t> suppress = {};  ///< tokens never generated
  std::int64_t batch_rows = 128;            ///< hypotheses on their way at once, at most
  std::int64_t batch_tokens =
      8192;  ///< source tokens encoded at once, at most (a longer sentence goes alone)
};

struct Hypothesis {
  std::vector<std::int32_t> tokens;  ///< without start and end token
  double log_probability = 0;        ///< of the tokens and, where it was reached, the end token
  double score = 0;                  ///< log_probability / length^α, the end token counted in the length
};

/// Translates sentences: for each, its hypotheses, best first, in the order of the input. Sentences are
/// sorted by length and decoded in batches with cached keys and values; finished ones leave the batch. The
/// composition of batches changes no bit of a result. An empty source gives
/// one empty hypothesis. Beam search: each step extends beam_size hypotheses to the 2·beam_size best
/// continuations; those of the first beam_size that end are set aside and replaced by the next that do not; a
/// sentence is done with beam_size·patience finished ones (α = 0: as soon as the best one ended) or at its
/// length limit, where what stands counts as finished.
HEADWAY_API std::vector<std::vector<Hypothesis>> decode(LanguageModel& model,
                                                        const std::vector<std::vector<std::int32_t>>& sources,
                                                        const DecodingOptions& options = {});

/// The single best hypothesis of each sentence.
HEADWAY_API std::vector<std::vector<std::int32_t>> translate(
    LanguageModel& model, const std::vector<std::vector<std::int32_t>>& sources,
    const DecodingOptions& options = {});

}  // namespace headway::inline v1::models
