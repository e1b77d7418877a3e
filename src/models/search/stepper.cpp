#include "models/search/stepper.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/kernels/beam.h>
#include <headway/models/batch.h>

namespace headway::inline v1::models {
namespace {

std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> offsets(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), offsets.begin() + 1);
  return offsets;
}

Tensor ids_of(const std::vector<std::int32_t>& ids) {
  return from(ids, {static_cast<std::int64_t>(ids.size())});
}

}  // namespace

Stepper::Stepper(Transformer& model, const SearchBatch& batch, std::int64_t rows_each) : model_(model) {
  std::vector<std::vector<std::int32_t>> sources;
  for (const std::vector<std::int32_t>* source : batch.sources) sources.push_back(*source);
  const PackedTokens packed = pack(sources);
  state_ = model_.start(model_.encode(packed.ids, packed.offsets), packed.offsets);
  query_offsets_ = offsets_of(std::vector<std::int64_t>(batch.sources.size(), rows_each));
}

Tensor Stepper::logits(const std::vector<std::int32_t>& tokens, const DecodingOptions& options) {
  const std::int64_t step = state_.position;
  Tensor out = model_.logits(model_.step(ids_of(tokens), state_, query_offsets_));
  const std::int64_t vocabulary = out.size(1);
  auto* values = out.data<float>();
  for (std::int64_t r = 0; r < out.size(0); ++r) {
    float* row = values + r * vocabulary;
    for (const std::int32_t token : options.suppress) row[token] = -std::numeric_limits<float>::infinity();
    if (step < options.min_length) row[options.eos] = -std::numeric_limits<float>::infinity();
  }
  return out;
}

void Stepper::keep(const std::vector<std::int32_t>& from, const std::vector<std::int64_t>& rows_of_source) {
  bool unchanged = static_cast<std::int64_t>(from.size()) == query_offsets_.back();
  for (std::size_t r = 0; unchanged && r < from.size(); ++r)
    unchanged = from[r] == static_cast<std::int32_t>(r);
  if (!unchanged) state_.reorder(from);
  query_offsets_ = offsets_of(rows_of_source);
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

std::int64_t length_limit(const DecodingOptions& options, const Transformer& model,
                          std::size_t source_length) {
  std::int64_t limit = std::min(options.max_length, model.options().max_length);
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
