#include <algorithm>
#include <cmath>
#include <map>

#include <headway/core/error.h>
#include <headway/jobs/generator.h>

#include "jobs/generator_impl.h"

namespace headway::inline v1::jobs {
namespace {

using Ids = std::vector<std::int32_t>;

std::size_t common(const Ids& a, const Ids& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

double log_probability(const float* logits, std::int64_t vocabulary, std::int32_t token) {
  const auto largest = static_cast<double>(*std::max_element(logits, logits + vocabulary));
  double total = 0;
  for (std::int64_t i = 0; i < vocabulary; ++i) total += std::exp(static_cast<double>(logits[i]) - largest);
  return static_cast<double>(logits[token]) - largest - std::log(total);
}

// Scores endings of texts. What they all begin with is computed once, and so is what the endings of one text
// follow. Where one part ends and the next begins depends on a text and its endings alone, and so do its
// bits.
class EndingScorer {
 public:
  EndingScorer(const TextModel& model, const std::string& shared)
      : tokenizer_(model.tokenizer),
        model_(*model.model->language_model()),
        state_(model_.start()),
        shared_(ids_of(shared)) {}

  std::vector<Generator::Ending> operator()(const std::string& beginning,
                                            const std::vector<std::string>& endings) {
    const Ids prefix = ids_of(beginning);
    std::vector<Ids> texts;
    std::vector<std::size_t> begins;  // Tokens may join across the border: what both have is the beginning.
    std::size_t split = SIZE_MAX;
    for (const std::string& ending : endings) {
      texts.push_back(ids_of(beginning + ending));
      begins.push_back(std::max<std::size_t>(1, common(prefix, texts.back())));
      split = std::min({split, begins.back(), texts.back().size()});
    }
    if (split == 0 || endings.empty())
      fail(ErrorCode::value, "score_endings", "a text has no tokens; want a beginning or an ending that has");
    const std::int64_t sequence = begin(texts.front(), split);
    const Tensor first = model_.step(state_, {{.sequence = sequence, .tokens = rest_}});
    std::vector<models::StepRow> rows;
    std::vector<Ids> parts(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].size() < split + 2) continue;  // nothing follows its first token
      parts[i].assign(texts[i].begin() + static_cast<std::ptrdiff_t>(split), texts[i].end() - 1);
      rows.push_back({state_.fork(sequence), parts[i], models::LogitRows::all});
    }
    const Tensor others = model_.step(state_, rows);
    for (const models::StepRow& row : rows) state_.drop(row.sequence);
    state_.drop(sequence);
    const std::int64_t vocabulary = model_.vocabulary();
    std::vector<Generator::Ending> out(texts.size());
    std::int64_t at = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      for (std::size_t t = begins[i]; t < texts[i].size(); ++t) {
        const float* row =
            t == split ? first.data<float>()
                       : others.data<float>() + (at + static_cast<std::int64_t>(t - split - 1)) * vocabulary;
        out[i].log_probability += log_probability(row, vocabulary, texts[i][t]);
        ++out[i].tokens;
      }
      at += static_cast<std::int64_t>(parts[i].size());
    }
    return out;
  }

 private:
  Ids ids_of(const std::string& text) const { return tokenizer_.encode(text, {.max_length = 0}).ids; }

  // A sequence that has what `text` and the shared text have in common; rest_ is what is missing of the first
  // `split` tokens, one at least.
  std::int64_t begin(const Ids& text, std::size_t split) {
    const std::size_t known = std::min(common(shared_, text), split - 1);
    rest_.assign(text.begin() + static_cast<std::ptrdiff_t>(known),
                 text.begin() + static_cast<std::ptrdiff_t>(split));
    if (known == 0) return state_.add();
    const auto [found, fresh] = begun_.try_emplace(known, 0);
    if (fresh) {
      found->second = state_.add();
      model_.step(state_, {{.sequence = found->second, .tokens = std::span(shared_).first(known)}});
    }
    return state_.fork(found->second);
  }

  const text::HubTokenizer& tokenizer_;
  models::LanguageModel& model_;
  models::DecodingState state_;
  Ids shared_, rest_;
  std::map<std::size_t, std::int64_t> begun_;  // sequences of as many tokens of the shared text
};

}  // namespace

std::vector<std::vector<Generator::Ending>> Generator::score_endings(
    const std::string& shared, const std::vector<std::string>& beginnings,
    const std::vector<std::string>& endings, const OnProgress& on_progress) const {
  if (impl_->language_model().has_encoder())
    fail(ErrorCode::unsupported, "score_endings", "want a decoder, not an encoder–decoder");
  EndingScorer score(impl_->loaded, shared);
  std::vector<std::vector<Ending>> out;
  for (const std::string& beginning : beginnings) {
    out.push_back(score(shared + beginning, endings));
    if (on_progress)
      on_progress(static_cast<std::int64_t>(out.size()), static_cast<std::int64_t>(beginnings.size()));
  }
  return out;
}

std::vector<Generator::Ending> Generator::score_endings(const std::string& beginning,
                                                        const std::vector<std::string>& endings) const {
  return score_endings("", {beginning}, endings).front();
}

}  // namespace headway::inline v1::jobs
