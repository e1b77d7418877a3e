#include <headway/models/generation.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/core/parallel.h>
#include <headway/ops/loss.h>
#include <headway/ops/views.h>

#include "models/search/sample.h"
#include "models/search/stepper.h"

namespace headway::inline v1::models {
namespace {

constexpr const char* kOperation = "generate";
constexpr float kNever = -std::numeric_limits<float>::infinity();

void require(bool good, const char* name, double got, const char* wanted) {
  if (!good) fail(ErrorCode::value, kOperation, fmt::format("{} is {}; want {}", name, got, wanted));
}

void check(const GenerationOptions& o) {
  require(o.max_new_tokens >= 1, "max_new_tokens", static_cast<double>(o.max_new_tokens), "at least 1");
  require(o.min_new_tokens >= 0, "min_new_tokens", static_cast<double>(o.min_new_tokens), "at least 0");
  require(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
          o.repetition_penalty, "a positive number");
  require(std::isfinite(o.presence_penalty), "presence_penalty", o.presence_penalty, "a number");
  if (!o.sampling) return;
  const Sampling& s = *o.sampling;
  require(s.temperature > 0 && std::isfinite(s.temperature), "temperature", s.temperature,
          "a positive number (for the most probable token, leave sampling out)");
  require(s.top_k >= 0, "top_k", static_cast<double>(s.top_k), "at least 0");
  require(s.top_p > 0 && s.top_p <= 1, "top_p", s.top_p, "a share in (0, 1]");
  require(s.min_p >= 0 && s.min_p <= 1, "min_p", s.min_p, "a share in [0, 1]");
}

// A text on its way.
struct Text {
  std::size_t place = 0;
  std::uint64_t stream = 0;  // of random words
  std::int64_t sequence = 0, limit = 0;
  std::vector<std::int32_t> next = {};  // to be given to the model
  std::set<std::int32_t> seen = {}, written_tokens = {};
  std::vector<std::int32_t> written = {};
};

// The options' changes to one row of logits.
void adjust(float* row, std::int64_t vocabulary, const Text& text, const GenerationOptions& o) {
  const auto known = [&](std::int32_t token) { return token >= 0 && token < vocabulary; };
  if (o.repetition_penalty != 1) {
    const auto penalty = static_cast<float>(o.repetition_penalty);
    for (const std::int32_t token : text.seen)
      row[token] = row[token] > 0 ? row[token] / penalty : row[token] * penalty;
  }
  if (o.presence_penalty != 0) {
    for (const std::int32_t token : text.written_tokens) row[token] -= static_cast<float>(o.presence_penalty);
  }
  for (const std::int32_t token : o.suppress) {
    if (known(token)) row[token] = kNever;
  }
  if (static_cast<std::int64_t>(text.written.size()) < o.min_new_tokens) {
    for (const std::int32_t token : o.end) {
      if (known(token)) row[token] = kNever;
    }
  }
  if (!o.sampling || o.sampling->min_p <= 0) return;
  // p ≥ min_p · largest p, after the temperature (Nguyen et al. 2024).
  const float largest = *std::max_element(row, row + vocabulary);
  const auto least = static_cast<float>(static_cast<double>(largest) +
                                        o.sampling->temperature * std::log(o.sampling->min_p));
  for (std::int64_t i = 0; i < vocabulary; ++i) {
    if (row[i] < least) row[i] = kNever;
  }
}

std::vector<std::int32_t> choose(const Tensor& logits, const std::vector<Text>& texts,
                                 const GenerationOptions& o) {
  const std::int64_t vocabulary = logits.size(1);
  core::parallel_for(static_cast<std::int64_t>(texts.size()), [&](std::int64_t r) {
    adjust(logits.data<float>() + r * vocabulary, vocabulary, texts[static_cast<std::size_t>(r)], o);
  });
  const std::int64_t k = o.sampling ? wanted_best(*o.sampling, vocabulary) : 1;
  const Best best = best_of(logits, k);
  std::vector<std::int32_t> out(texts.size());
  core::parallel_for(static_cast<std::int64_t>(texts.size()), [&](std::int64_t r) {
    const auto at = static_cast<std::size_t>(r);
    const std::size_t first = at * static_cast<std::size_t>(k);
    if (!o.sampling) {
      out[at] = best.token[first];
      return;
    }
    const Text& text = texts[at];
    const RandomCall stream{o.sampling->seed, text.stream};
    out[at] = draw({.logits = logits.data<float>() + r * vocabulary,
                    .vocabulary = vocabulary,
                    .best = &best.log_probability[first],
                    .token = &best.token[first],
                    .k = k},
                   *o.sampling, uniform_of(stream.words(static_cast<std::uint64_t>(text.written.size()))))
                  .token;
  });
  return out;
}

// A prompt's own stream of random words, wherever it stands in whichever batch: FNV-1a of its tokens.
std::uint64_t stream_of(const std::vector<std::int32_t>& prompt) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const std::int32_t token : prompt) {
    for (int byte = 0; byte < 4; ++byte) {
      hash ^= (static_cast<std::uint32_t>(token) >> (8 * byte)) & 0xFF;
      hash *= 0x100000001B3;
    }
  }
  return hash;
}

// A text that begins with these tokens.
Text begin_text(const LanguageModel& model, const std::vector<std::int32_t>& tokens,
                const GenerationOptions& options, std::size_t place = 0) {
  Text text{.place = place, .stream = stream_of(tokens), .limit = options.max_new_tokens, .next = tokens};
  if (tokens.empty())
    fail(ErrorCode::value, kOperation, fmt::format("prompt {} has no tokens; want at least one", place));
  if (model.max_length() > 0) {
    const std::int64_t room = model.max_length() - static_cast<std::int64_t>(tokens.size());
    if (room < 1) {
      fail(ErrorCode::value, kOperation,
           fmt::format("prompt {} has {} tokens; want fewer than the {} that the model takes", place,
                       tokens.size(), model.max_length()));
    }
    text.limit = std::min(text.limit, room);
  }
  text.seen.insert(tokens.begin(), tokens.end());
  return text;
}

// Texts that no sequence holds yet.
std::vector<Text> begin_texts(const LanguageModel& model,
                              const std::vector<std::vector<std::int32_t>>& prompts,
                              const GenerationOptions& options, const std::vector<std::int32_t>& begin) {
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty())
      fail(ErrorCode::value, kOperation, fmt::format("prompt {} has no tokens; want at least one", i));
  }
  if (model.has_encoder() && begin.empty())
    fail(ErrorCode::value, kOperation,
         "a model with an encoder begins a text with a token of its own; want `begin`");
  std::map<std::vector<std::int32_t>, std::uint64_t> met;
  std::vector<Text> texts;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Text text = begin_text(model, model.has_encoder() ? begin : prompts[i], options, i);
    text.stream = stream_of(prompts[i]) + met[prompts[i]]++;
    texts.push_back(std::move(text));
  }
  return texts;
}

// Whether `text` begins with `beginning` and has more.
bool goes_beyond(const std::vector<std::int32_t>& text, const std::vector<std::int32_t>& beginning) {
  return text.size() > beginning.size() && std::equal(beginning.begin(), beginning.end(), text.begin());
}

}  // namespace

// Writes texts to their ends.
class TextWriter {
 public:
  TextWriter(LanguageModel& model, const GenerationOptions& options, const OnToken& on_token)
      : model_(model), options_(options), on_token_(on_token) {}

  std::vector<std::vector<std::int32_t>> write(const std::vector<std::vector<std::int32_t>>& prompts,
                                               const std::vector<std::int32_t>& begin) const {
    std::vector<Text> waiting = begin_texts(model_, prompts, options_, begin), alive;
    std::vector<std::vector<std::int32_t>> results(prompts.size());
    DecodingState state = model_.start();
    std::size_t next = 0;
    while (next < waiting.size() || !alive.empty()) {
      const std::size_t stop = next + admitted(prompts, next, alive.size());
      std::vector<std::int64_t> memories(stop - next, DecodingState::kNoMemory);
      if (model_.has_encoder() && stop > next) {
        memories = model_.remember(
            state, model_.encode(pack({prompts.begin() + static_cast<std::ptrdiff_t>(next),
                                       prompts.begin() + static_cast<std::ptrdiff_t>(stop)})));
      }
      for (const std::int64_t memory : memories) {
        alive.push_back(std::move(waiting[next++]));
        alive.back().sequence = state.add(memory);
      }
      std::vector<StepRow> rows;
      for (const Text& text : alive) rows.push_back({.sequence = text.sequence, .tokens = text.next});
      const std::vector<std::int32_t> chosen = choose(model_.step(state, rows), alive, options_);
      std::vector<Text> still;
      for (std::size_t r = 0; r < alive.size(); ++r) {
        Text& text = alive[r];
        if (goes_on(text, chosen[r])) {
          still.push_back(std::move(text));
          continue;
        }
        const std::int64_t memory = state.memory(text.sequence);
        state.drop(text.sequence);
        if (memory != DecodingState::kNoMemory) state.forget(memory);
        results[text.place] = std::move(text.written);
      }
      alive = std::move(still);
    }
    return results;
  }

  std::vector<std::int32_t> write(const std::vector<std::int32_t>& prompt, KeptText& kept) const;

 private:
  // How many of the prompts from `next` on may join as many texts as are `alive`: what is computed at once is
  // held below some tokens and rows. Their number changes no bit of any.
  static std::size_t admitted(const std::vector<std::vector<std::int32_t>>& prompts, std::size_t next,
                              std::size_t alive) {
    constexpr std::size_t kRows = 64, kTokens = 8192;
    std::size_t count = 0, tokens = 0;
    while (next + count < prompts.size() && alive + count < kRows) {
      tokens += prompts[next + count].size();
      if (count > 0 && tokens > kTokens) break;
      ++count;
    }
    return count;
  }
  bool goes_on(Text& text, std::int32_t token) const {
    if (std::find(options_.end.begin(), options_.end.end(), token) != options_.end.end()) return false;
    text.written.push_back(token);
    if (on_token_ && !on_token_(text.place, token)) return false;
    if (static_cast<std::int64_t>(text.written.size()) >= text.limit) return false;
    text.seen.insert(token);
    text.written_tokens.insert(token);
    text.next = {token};
    return true;
  }
  LanguageModel& model_;
  const GenerationOptions& options_;
  const OnToken& on_token_;
};

std::vector<std::int32_t> TextWriter::write(const std::vector<std::int32_t>& prompt, KeptText& kept) const {
  KeptText now = std::exchange(kept, {});
  KeptText::Place from;
  const std::int64_t known = now.known(prompt);
  for (const KeptText::Place& place : now.places_) {
    const bool longest = static_cast<std::int64_t>(place.tokens.size()) == known;
    if (longest && from.tokens.empty() && goes_beyond(prompt, place.tokens)) {
      from = place;
    } else {
      now.state_.drop(place.sequence);
    }
  }
  if (from.tokens.empty()) {
    now.state_ = model_.start();
    from.sequence = now.state_.add();
  }
  Text text = begin_text(model_, prompt, options_);
  text.sequence = from.sequence;
  text.next.assign(prompt.begin() + known, prompt.end());
  now.places_.clear();
  std::vector<std::int32_t> given = prompt;
  for (bool writes = true; writes;) {
    const Tensor logits = model_.step(now.state_, {{.sequence = text.sequence, .tokens = text.next}});
    if (now.places_.empty())
      now.places_.push_back({now.state_.fork(text.sequence), prompt});
    else
      given.push_back(text.next.front());
    std::vector<Text> one{std::move(text)};
    const std::int32_t token = choose(logits, one, options_).front();
    text = std::move(one.front());
    writes = goes_on(text, token);
  }
  now.places_.push_back({text.sequence, std::move(given)});
  kept = std::move(now);
  return text.written;
}

std::int64_t KeptText::known(const std::vector<std::int32_t>& prompt) const {
  std::size_t longest = 0;
  for (const Place& place : places_) {
    if (goes_beyond(prompt, place.tokens)) longest = std::max(longest, place.tokens.size());
  }
  return static_cast<std::int64_t>(longest);
}

std::vector<std::vector<std::int32_t>> generate(LanguageModel& model,
                                                const std::vector<std::vector<std::int32_t>>& prompts,
                                                const GenerationOptions& options, const OnToken& on_token,
                                                const std::vector<std::int32_t>& begin) {
  check(options);
  const NoGrad no_grad;
  return TextWriter(model, options, on_token).write(prompts, begin);
}

std::vector<std::int32_t> generate(LanguageModel& model, const std::vector<std::int32_t>& prompt,
                                   const GenerationOptions& options, const OnToken& on_token,
                                   KeptText& kept) {
  check(options);
  if (model.has_encoder())
    fail(ErrorCode::unsupported, kOperation, "a model with an encoder keeps no text; want a decoder");
  const NoGrad no_grad;
  return TextWriter(model, options, on_token).write(prompt, kept);
}

std::vector<float> token_log_probabilities(LanguageModel& model, const PackedBatch& batch) {
  const NoGrad no_grad;
  const Tensor hidden = model.hidden(batch);
  const auto ids = batch.ids.to_vector<std::int32_t>();
  std::vector<float> out(ids.size(), 0);
  // Logits of some rows at a time: all of them at once can be gigabytes.
  const std::int64_t rows = std::max<std::int64_t>(1, (std::int64_t{1} << 24) / model.vocabulary());
  for (std::size_t b = 0; b + 1 < batch.offsets.size(); ++b) {
    const std::int64_t end = batch.offsets[b + 1] - 1;  // the last row predicts nothing of this sequence
    for (std::int64_t i = batch.offsets[b]; i < end; i += rows) {
      const std::int64_t stop = std::min(end, i + rows);
      const std::vector<std::int32_t> targets(ids.begin() + i + 1, ids.begin() + stop + 1);
      const TokenScores scores =
          token_scores(model.logits(contiguous(slice(hidden, 0, i, stop))), from(targets, {stop - i}));
      const auto found = scores.log_probability.to_vector<float>();
      std::copy(found.begin(), found.end(), out.begin() + i + 1);
    }
  }
  return out;
}

}  // namespace headway::inline v1::models
