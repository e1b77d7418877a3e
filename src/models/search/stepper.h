#pragma once
#include <vector>

#include <headway/models/decoding.h>

namespace headway::inline v1::models {

/// A part of the input that is decoded together.
struct SearchBatch {
  std::vector<const std::vector<std::int32_t>*> sources;
  std::vector<std::size_t> places;  ///< of each source in the whole input
};

/// One step at a time of many hypotheses: rows of one source stand together and share its memory, which is
/// never copied.
class Stepper {
 public:
  /// Encodes the sources, for a model with an encoder; each begins with `rows_each` rows. Without one a
  /// source is what its rows begin with.
  Stepper(LanguageModel& model, const SearchBatch& batch, std::int64_t rows_each);
  /// Feeds each row its latest token -> [R, V] float32, the caller's to overwrite. Tokens in
  /// `options.suppress`, and the end token before min_length, are -inf in it.
  Tensor logits(const std::vector<std::int32_t>& tokens, const DecodingOptions& options);
  /// Row r becomes the former row from[r].
  void keep(const std::vector<std::int32_t>& from);

 private:
  LanguageModel& model_;
  DecodingState state_;
  std::vector<std::int64_t> sequences_;  // of each row
  std::int64_t steps_ = 0;
};

/// The k best continuations of each row of logits.
struct Best {
  std::int64_t k = 0;
  std::vector<float> log_probability;  ///< [R, k], largest first
  std::vector<std::int32_t> token;     ///< [R, k]
};
/// Error(value) when a row holds a NaN, or nothing but -inf.
Best best_of(const Tensor& logits, std::int64_t k);

/// Tokens that a source may get, the end token among them.
std::int64_t length_limit(const DecodingOptions& options, const LanguageModel& model,
                          std::size_t source_length);
/// `tokens` may end in eos, which is counted and dropped.
Hypothesis finished(std::vector<std::int32_t> tokens, double log_probability, const DecodingOptions& options);
/// Best score first, the earlier finished first among equals, at most num_hypotheses.
void rank(std::vector<Hypothesis>& hypotheses, const DecodingOptions& options);

/// The searches: hypotheses for each source of the batch.
std::vector<std::vector<Hypothesis>> beam_search(LanguageModel& model, const SearchBatch& batch,
                                                 const DecodingOptions& options);
/// Greedy search and sampling: every row goes its own way.
std::vector<std::vector<Hypothesis>> single_search(LanguageModel& model, const SearchBatch& batch,
                                                   const DecodingOptions& options);

}  // namespace headway::inline v1::models
