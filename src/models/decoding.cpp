#include <headway/models/decoding.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/parallel.h>

#include "models/search/stepper.h"

namespace headway::inline v1::models {
namespace {

template <typename Value>
void require(bool good, std::string_view name, const Value& got, std::string_view wanted) {
  if (!good) fail(ErrorCode::value, "decode", fmt::format("{} is {}; want {}", name, got, wanted));
}

void check_token(std::string_view name, std::int32_t token, std::int64_t vocabulary) {
  require(token >= 0 && token < vocabulary, name, token, fmt::format("a token in [0, {})", vocabulary));
}

void check_sampling(const DecodingOptions& options, const Sampling& how) {
  require(options.beam_size == 1, "beam_size", options.beam_size, "1 when sampling");
  require(how.temperature > 0 && std::isfinite(how.temperature), "temperature", how.temperature,
          "a positive number (for the most probable token, leave sampling out)");
  require(how.top_k >= 0, "top_k", how.top_k, "at least 0");
  require(how.top_p > 0 && how.top_p <= 1, "top_p", how.top_p, "a share in (0, 1]");
}

void check(const DecodingOptions& options, const LanguageModel& model) {
  const std::int64_t vocabulary = model.vocabulary();
  if (model.training()) fail(ErrorCode::value, "decode", "the model is training; call eval() first");
  require(options.beam_size >= 1, "beam_size", options.beam_size, "at least 1");
  require(options.beam_size == 1 || 2 * options.beam_size <= vocabulary, "beam_size", options.beam_size,
          fmt::format("at most half of the target vocabulary of {}", vocabulary));
  require(options.num_hypotheses >= 1, "num_hypotheses", options.num_hypotheses, "at least 1");
  require(options.patience > 0 && std::isfinite(options.patience), "patience", options.patience,
          "a positive number");
  require(options.length_penalty >= 0 && std::isfinite(options.length_penalty), "length_penalty",
          options.length_penalty, "a number from 0 up");
  require(options.max_length >= 1, "max_length", options.max_length, "at least 1");
  require(options.max_length_factor >= 0, "max_length_factor", options.max_length_factor, "at least 0");
  require(options.max_length_extra >= 0, "max_length_extra", options.max_length_extra, "at least 0");
  require(options.min_length >= 0 && options.min_length <= options.max_length, "min_length",
          options.min_length, fmt::format("between 0 and max_length = {}", options.max_length));
  require(options.batch_rows >= 1, "batch_rows", options.batch_rows, "at least 1");
  require(options.batch_tokens >= 1, "batch_tokens", options.batch_tokens, "at least 1");
  check_token("bos", options.bos, vocabulary);
  check_token("eos", options.eos, vocabulary);
  for (const std::int32_t token : options.suppress) check_token("suppress", token, vocabulary);
  if (options.sampling) {
    check_sampling(options, *options.sampling);
  } else {
    const double most = static_cast<double>(options.beam_size) * options.patience;
    require(static_cast<double>(options.num_hypotheses) <= std::max(1.0, std::round(most)), "num_hypotheses",
            options.num_hypotheses, fmt::format("at most beam_size·patience = {}", most));
  }
}

/// Sentences of about one length together, longest first: they end at about the same step.
std::vector<SearchBatch> batches(const std::vector<std::vector<std::int32_t>>& sources,
                                 const DecodingOptions& options) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].empty()) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sources[a].size() > sources[b].size(); });
  const std::int64_t rows_each = options.sampling ? options.num_hypotheses : options.beam_size;
  std::vector<SearchBatch> out;
  std::int64_t rows = 0, tokens = 0;
  for (const std::size_t place : order) {
    const auto length = static_cast<std::int64_t>(sources[place].size());
    if (out.empty() || rows + rows_each > options.batch_rows || tokens + length > options.batch_tokens) {
      out.emplace_back();
      rows = tokens = 0;
    }
    out.back().sources.push_back(&sources[place]);
    out.back().places.push_back(place);
    rows += rows_each;
    tokens += length;
  }
  return out;
}

}  // namespace

std::vector<std::vector<Hypothesis>> decode(LanguageModel& model,
                                            const std::vector<std::vector<std::int32_t>>& sources,
                                            const DecodingOptions& options) {
  check(options, model);
  std::vector<std::vector<Hypothesis>> results(sources.size(), std::vector<Hypothesis>(1));
  const std::vector<SearchBatch> work = batches(sources, options);
  const auto run = [&](std::int64_t i) {
    const NoGrad no_grad;  // of this thread
    const SearchBatch& batch = work[static_cast<std::size_t>(i)];
    auto found =
        options.beam_size > 1 ? beam_search(model, batch, options) : single_search(model, batch, options);
    for (std::size_t b = 0; b < found.size(); ++b) results[batch.places[b]] = std::move(found[b]);
  };
  // The matrices of one step are too small for several threads to pay: whole batches go to threads, where
  // there are enough of them. Ops give the same bits on one thread as on many, so it changes nothing else.
  const auto count = static_cast<std::int64_t>(work.size());
  if (count >= threads()) {
    core::parallel_for(count, run);
  } else {
    for (std::int64_t i = 0; i < count; ++i) run(i);
  }
  return results;
}

std::vector<std::vector<std::int32_t>> translate(LanguageModel& model,
                                                 const std::vector<std::vector<std::int32_t>>& sources,
                                                 const DecodingOptions& options) {
  std::vector<std::vector<std::int32_t>> best;
  for (std::vector<Hypothesis>& hypotheses : decode(model, sources, options)) {
    best.push_back(std::move(hypotheses.front().tokens));
  }
  return best;
}

}  // namespace headway::inline v1::models
