#include <headway/core/generator.h>
#include <headway/core/parallel.h>

#include "models/search/sample.h"
#include "models/search/stepper.h"

namespace headway::inline v1::models {
namespace {

struct Row {
  std::size_t source = 0;
  std::uint64_t stream = 0;  // of random numbers
  std::int64_t limit = 0;
  std::vector<std::int32_t> tokens = {};
  double log_probability = 0;
};

std::vector<Sample> choose(const Tensor& logits, const std::vector<Row>& rows, std::int64_t step,
                           const DecodingOptions& options) {
  const std::int64_t vocabulary = logits.size(1);
  const std::int64_t k = options.sampling ? wanted_best(*options.sampling, vocabulary) : 1;
  const Best best = best_of(logits, k);
  std::vector<Sample> samples(rows.size());
  core::parallel_for(static_cast<std::int64_t>(rows.size()), [&](std::int64_t r) {
    const auto at = static_cast<std::size_t>(r);
    const std::size_t first = at * static_cast<std::size_t>(k);
    if (!options.sampling) {
      samples[at] = {best.token[first], best.log_probability[first]};
      return;
    }
    const RandomCall stream{options.sampling->seed, rows[at].stream};
    samples[at] = draw({.logits = logits.data<float>() + r * vocabulary,
                        .vocabulary = vocabulary,
                        .best = &best.log_probability[first],
                        .token = &best.token[first],
                        .k = k},
                       *options.sampling, uniform_of(stream.words(static_cast<std::uint64_t>(step))));
  });
  return samples;
}

}  // namespace

std::vector<std::vector<Hypothesis>> single_search(LanguageModel& model, const SearchBatch& batch,
                                                   const DecodingOptions& options) {
  std::vector<std::vector<Hypothesis>> results(batch.sources.size());
  const std::int64_t rows_each = options.num_hypotheses;
  std::vector<Row> alive;
  for (std::size_t b = 0; b < batch.sources.size(); ++b) {
    for (std::int64_t j = 0; j < rows_each; ++j) {
      alive.push_back(
          {.source = b,
           .stream = batch.places[b] * static_cast<std::uint64_t>(rows_each) + static_cast<std::uint64_t>(j),
           .limit = length_limit(options, model, batch.sources[b]->size())});
    }
  }
  Stepper stepper(model, batch, rows_each);
  std::vector<std::int32_t> tokens(alive.size(), options.bos);
  for (std::int64_t step = 0; !alive.empty(); ++step) {
    const std::vector<Sample> samples = choose(stepper.logits(tokens, options), alive, step, options);
    std::vector<std::int32_t> from;
    std::vector<Row> still;
    tokens.clear();
    for (std::size_t r = 0; r < alive.size(); ++r) {
      Row& row = alive[r];
      row.tokens.push_back(samples[r].token);
      row.log_probability += samples[r].log_probability;
      if (samples[r].token == options.eos || step + 1 == row.limit) {
        results[row.source].push_back(finished(std::move(row.tokens), row.log_probability, options));
        continue;
      }
      from.push_back(static_cast<std::int32_t>(r));
      tokens.push_back(samples[r].token);
      still.push_back(std::move(row));
    }
    alive = std::move(still);
    if (!alive.empty()) stepper.keep(from);
  }
  for (std::vector<Hypothesis>& hypotheses : results) rank(hypotheses, options);
  return results;
}

}  // namespace headway::inline v1::models
