#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <headway/models/decoding.h>

namespace headway::inline v1::models {

struct GenerationOptions {
  std::int64_t max_new_tokens = 256;
  std::int64_t min_new_tokens = 0;          ///< before an end token may come
  std::vector<std::int32_t> end = {};       ///< any of these ends a text
  std::vector<std::int32_t> suppress = {};  ///< never written
  std::optional<Sampling> sampling = {};    ///< none: the most probable token
  /// Logits of tokens that the text has, prompt included, are divided by it (multiplied where negative;
  /// Keskar et al. 2019, section 4.1). 1: none.
  double repetition_penalty = 1;
  double presence_penalty = 0;  ///< subtracted from the logits of tokens written so far
};

/// Told of every token as it is written, the end token excepted; false ends that text.
using OnToken = std::function<bool(std::size_t text, std::int32_t token)>;

/// Goes on with each prompt until an end token, the limit, or the model's own. With an encoder the prompts
/// are sources, and texts begin with `begin` (a model's decoder_start_token_id, and what must follow it).
/// Returns the new tokens without the end token. The same prompt, options and seed write the same in any
/// batch; where equal prompts stand in one call, that is the first of them, and the others draw anew.
/// Error(value) for a prompt without tokens or without room behind it, or options out of range. Evaluation
/// only.
HEADWAY_API std::vector<std::vector<std::int32_t>> generate(
    LanguageModel& model, const std::vector<std::vector<std::int32_t>>& prompts,
    const GenerationOptions& options = {}, const OnToken& on_token = {},
    const std::vector<std::int32_t>& begin = {});

/// What a model has computed of a text, for longer ones that begin like it: a conversation that grows. A copy
/// begins anew.
class HEADWAY_API KeptText {
 public:
  KeptText() = default;
  KeptText(const KeptText&) {}
  KeptText(KeptText&&) noexcept = default;
  KeptText& operator=(const KeptText&) {
    places_.clear();
    return *this;
  }
  KeptText& operator=(KeptText&&) noexcept = default;
  ~KeptText() = default;
  /// How many tokens of a prompt need not be computed again.
  std::int64_t known(const std::vector<std::int32_t>& prompt) const;

 private:
  friend class TextWriter;
  struct Place {
    std::int64_t sequence = 0;
    std::vector<std::int32_t> tokens;
  };
  DecodingState state_;
  std::vector<Place> places_;  // after the last prompt, and after what was written
};

/// Goes on with one text as generate() does, and begins where `kept` has something of the prompt: tokens are
/// given to the model once, or twice, however often a text grows. `kept` belongs to this model; after an
/// Error it is empty. Error(unsupported) of a model with an encoder.
HEADWAY_API std::vector<std::int32_t> generate(LanguageModel& model, const std::vector<std::int32_t>& prompt,
                                               const GenerationOptions& options, const OnToken& on_token,
                                               KeptText& kept);

/// log p of each token of packed sequences, given those before it in its sequence: [N] float32, 0 for the
/// first of each.
HEADWAY_API std::vector<float> token_log_probabilities(LanguageModel& model, const PackedBatch& batch);

}  // namespace headway::inline v1::models
