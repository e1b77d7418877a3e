#include "models/search/stepper.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include <headway/kernels/beam.h>
#include <headway/models/batch.h>

namespace headway::inline v1::models {

Stepper::Stepper(LanguageModel& model, const SearchBatch& batch, std::int64_t rows_each)
    : model_(model), state_(model.start()) {
  std::vector<std::int64_t> memories(batch.sources.size(), DecodingState::kNoMemory);
  if (model.has_encoder()) {
    std::vector<std::vector<std::int32_t>> sources;
    for (const std::vector<std::int32_t>* source : batch.sources) sources.push_back(*source);
    memories = model_.remember(state_, model_.encode(pack(sources)));
  }
  for (const std::int64_t memory : memories) {
    for (std::int64_t row = 0; row < rows_each; ++row) sequences_.push_back(state_.add(memory));
  }
}

Tensor Stepper::logits(const std::vector<std::int32_t>& tokens, const DecodingOptions& options) {
  std::vector<StepRow> rows;
  for (std::size_t r = 0; r < tokens.size(); ++r)
    rows.push_back({.sequence = sequences_[r], .tokens = std::span(tokens).subspan(r, 1)});
  Tensor out = model_.step(state_, rows);
  const std::int64_t vocabulary = out.size(1);
  auto* values = out.data<float>();
  for (std::int64_t r = 0; r < out.size(0); ++r) {
    float* row = values + r * vocabulary;
    for (const std::int32_t token : options.suppress) row[token] = -std::numeric_limits<float>::infinity();
    if (steps_ < options.min_length) row[options.eos] = -std::numeric_limits<float>::infinity();
  }
  ++steps_;
  return out;
}

void Stepper::keep(const std::vector<std::int32_t>& from) {
  // The first row that a former one goes on in takes its sequence over; the others copy it. Those without are
  // dropped first, so that copies take their places.
  std::vector<int> uses(sequences_.size(), 0);
  for (const std::int32_t row : from) ++uses[static_cast<std::size_t>(row)];
  for (std::size_t r = 0; r < uses.size(); ++r) {
    if (uses[r] == 0) state_.drop(sequences_[r]);
  }
  std::vector<std::int64_t> next;
  std::vector<bool> taken(sequences_.size(), false);
  for (const std::int32_t row : from) {
    const auto r = static_cast<std::size_t>(row);
    next.push_back(taken[r] ? state_.fork(sequences_[r]) : sequences_[r]);
    taken[r] = true;
  }
  sequences_ = std::move(next);
}

Best best_of(const Tensor& logits, std::int64_t k) {
  const std::int64_t rows = logits.size(0);
  const auto count = static_cast<std::size_t>(rows * k);
  Best best{k, std::vector<float>(count), std::vector<std::int32_t>(count)};
  kernels::top_log_probabilities({.logits = logits.data<float>(),
                                  .rows = rows,
                                  .vocabulary = logits.size(1),
                                  .stride = logits.size(1),
                                  .k = k,
                                  .log_probability = best.log_probability.data(),
                                  .index = best.token.data()});
  for (std::int64_t r = 0; r < rows; ++r) {
    if (!std::isfinite(best.log_probability[static_cast<std::size_t>(r * k)])) {
      fail(ErrorCode::value, "decode",
           "the model's logits are not finite; its weights are broken, or every token is suppressed");
    }
  }
  return best;
}

std::int64_t length_limit(const DecodingOptions& options, const LanguageModel& model,
                          std::size_t source_length) {
  std::int64_t limit = options.max_length;
  if (model.max_length() > 0) limit = std::min(limit, model.max_length());  // 0: any length
  if (options.max_length_factor > 0) {
    const double relative = options.max_length_factor * static_cast<double>(source_length);
    // Compared as doubles: a large factor must not overflow the conversion.
    if (relative + static_cast<double>(options.max_length_extra) < static_cast<double>(limit)) {
      limit = static_cast<std::int64_t>(relative) + options.max_length_extra;
    }
  }
  return std::max<std::int64_t>(limit, 1);
}

Hypothesis finished(std::vector<std::int32_t> tokens, double log_probability,
                    const DecodingOptions& options) {
  const auto length = static_cast<double>(tokens.size());
  if (tokens.back() == options.eos) tokens.pop_back();
  return {std::move(tokens), log_probability, log_probability / std::pow(length, options.length_penalty)};
}

void rank(std::vector<Hypothesis>& hypotheses, const DecodingOptions& options) {
  std::stable_sort(hypotheses.begin(), hypotheses.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  const auto most = static_cast<std::size_t>(options.num_hypotheses);
  if (hypotheses.size() > most) hypotheses.resize(most);
}

}  // namespace headway::inline v1::models
