#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "models/search/stepper.h"

namespace headway::inline v1::models {
namespace {

struct Partial {
  std::vector<std::int32_t> tokens;
  // float32, as the sums of log-probabilities that other decoders rank by: equal rounding keeps equal
  // choices.
  float log_probability = 0;
};

struct Candidate {
  float log_probability;
  std::int32_t row;  // within the sentence
  std::int32_t token;
};

struct Search {
  std::size_t source = 0;
  std::int64_t limit = 0;
  std::vector<Partial> beam{1};  // one before the first step, then beam_size
  std::vector<Hypothesis> finished;
  bool best_ended = false;
};

/// The 2·beam_size best continuations of all rows, of which a row can contribute no more than its own
/// 2·beam_size best.
std::vector<Candidate> candidates(const Search& search, const Best& best, std::int64_t first_row) {
  std::vector<Candidate> all;
  for (std::size_t row = 0; row < search.beam.size(); ++row) {
    const auto base = (static_cast<std::size_t>(first_row) + row) * static_cast<std::size_t>(best.k);
    for (std::size_t i = base; i < base + static_cast<std::size_t>(best.k); ++i) {
      all.push_back({search.beam[row].log_probability + best.log_probability[i],
                     static_cast<std::int32_t>(row), best.token[i]});
    }
  }
  // Suppressed tokens are -inf, and no continuation.
  std::erase_if(
      all, [](const Candidate& c) { return c.log_probability == -std::numeric_limits<float>::infinity(); });
  const auto keep = all.begin() + std::min<std::ptrdiff_t>(best.k, std::ssize(all));
  std::partial_sort(all.begin(), keep, all.end(), [](const Candidate& a, const Candidate& b) {
    if (a.log_probability != b.log_probability) return a.log_probability > b.log_probability;
    return a.row != b.row ? a.row < b.row : a.token < b.token;
  });
  all.erase(keep, all.end());
  return all;
}

std::vector<std::int32_t> extended(const Search& search, const Candidate& candidate) {
  std::vector<std::int32_t> tokens = search.beam[static_cast<std::size_t>(candidate.row)].tokens;
  tokens.push_back(candidate.token);
  return tokens;
}

/// Takes one step of a sentence; the rows to go on with, or nothing when it is done. A row has one end token,
/// so of 2·beam_size candidates at least beam_size do not end; only a tiny or heavily suppressed vocabulary
/// offers fewer.
std::vector<std::int32_t> advance(Search& search, const std::vector<Candidate>& found, std::int64_t step,
                                  const DecodingOptions& options) {
  const std::size_t width = std::min(found.size(), static_cast<std::size_t>(options.beam_size));
  const bool last = step + 1 == search.limit;
  std::vector<Partial> next;
  std::vector<std::int32_t> rows;
  std::size_t spare = width;
  for (std::size_t i = 0; i < width; ++i) {
    std::size_t chosen = i;
    if (last || found[i].token == options.eos) {
      search.best_ended = search.best_ended || i == 0;
      search.finished.push_back(finished(extended(search, found[i]), found[i].log_probability, options));
      while (spare < found.size() && found[spare].token == options.eos) ++spare;
      if (last || spare == found.size()) continue;
      chosen = spare++;
    }
    next.push_back({extended(search, found[chosen]), found[chosen].log_probability});
    rows.push_back(found[chosen].row);
  }
  const auto enough =
      static_cast<std::size_t>(std::lround(static_cast<double>(options.beam_size) * options.patience));
  const bool done =
      options.length_penalty == 0
          ? search.best_ended && search.finished.size() >= static_cast<std::size_t>(options.num_hypotheses)
          : search.finished.size() >= enough;
  if (last || done || next.empty()) return {};
  search.beam = std::move(next);
  return rows;
}

}  // namespace

std::vector<std::vector<Hypothesis>> beam_search(LanguageModel& model, const SearchBatch& batch,
                                                 const DecodingOptions& options) {
  std::vector<std::vector<Hypothesis>> results(batch.sources.size());
  std::vector<Search> alive(batch.sources.size());
  for (std::size_t b = 0; b < alive.size(); ++b) {
    alive[b].source = b;
    alive[b].limit = length_limit(options, model, batch.sources[b]->size());
  }
  Stepper stepper(model, batch, 1);
  std::vector<std::int32_t> tokens(alive.size(), options.bos);
  for (std::int64_t step = 0; !alive.empty(); ++step) {
    const Best best = best_of(stepper.logits(tokens, options), 2 * options.beam_size);
    std::vector<std::int32_t> from;
    std::vector<Search> still;
    std::int64_t first_row = 0;
    tokens.clear();
    for (Search& search : alive) {
      const auto rows_before = static_cast<std::int64_t>(search.beam.size());
      const std::vector<std::int32_t> rows =
          advance(search, candidates(search, best, first_row), step, options);
      for (const std::int32_t row : rows) from.push_back(static_cast<std::int32_t>(first_row) + row);
      first_row += rows_before;
      if (rows.empty()) {
        rank(search.finished, options);
        results[search.source] = std::move(search.finished);
        continue;
      }
      for (const Partial& partial : search.beam) tokens.push_back(partial.tokens.back());
      still.push_back(std::move(search));
    }
    alive = std::move(still);
    if (!alive.empty()) stepper.keep(from);
  }
  return results;
}

}  // namespace headway::inline v1::models
