#include "train/translation_task.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/ops/loss.h>
#include <headway/text/bleu.h>

namespace headway::inline v1::train {
namespace {

BatchOptions batch_options(const TranslationTraining& training) {
  return {.tokens = training.batch_tokens, .bos = text::kBos, .eos = text::kEos, .seed = training.seed};
}

// Pairs the model is long enough for; the others are left out, and said to be.
std::vector<Example> fitting(const TranslationConfig& config, const text::Tokenizer& tokenizer,
                             const text::Pairs& pairs, const TranslationTask::Note& note) {
  std::vector<Example> examples = encode_pairs(tokenizer, pairs);
  const auto limit =
      static_cast<std::size_t>(std::min(config.model.max_length, config.training.batch_tokens / 2));
  const auto dropped = std::erase_if(
      examples, [&](const Example& e) { return e.source.size() > limit || e.target.size() + 1 > limit; });
  if (dropped > 0 && note)
    note(fmt::format("{} pairs have more than {} tokens on a side and are left out", dropped, limit));
  if (examples.empty()) fail(ErrorCode::value, "train", "there is no pair to train on");
  return examples;
}

}  // namespace

TranslationTask::TranslationTask(const TranslationConfig& config, const text::Tokenizer& tokenizer,
                                 const TranslationData& data, const Note& note)
    : config_(config),
      generator_(config.training.seed),
      translator_(config, tokenizer, std::make_unique<models::Transformer>(config.model, generator_)),
      batches_(fitting(config, tokenizer, data.train, note), batch_options(config.training)),
      valid_(encode_pairs(tokenizer, data.valid)) {
  const auto count = std::min<std::size_t>(data.valid.size(), static_cast<std::size_t>(std::max<std::int64_t>(
                                                                  config.training.evaluate_sentences, 0)));
  for (std::size_t i = 0; i < count; ++i) {
    valid_sources_.push_back(data.valid[i].source);
    valid_references_.push_back(data.valid[i].target);
  }
  if (note) {
    note(fmt::format("{} parameters, vocabulary {}, {} pairs, {} batches per epoch",
                     model().parameter_count(), config.model.target_vocab, batches_.examples().size(),
                     batches_.batches()));
  }
  model().train(generator_);
}

DrawnBatch TranslationTask::next() {
  const auto batch = std::make_shared<const Batch>(batches_.next());
  return {.weight = static_cast<double>(batch->tokens()), .tokens = batch->tokens(), .loss = [this, batch] {
            return model().loss({batch->source, batch->target_in, batch->target_out, batch->source_offsets,
                                 batch->target_offsets},
                                config_.training.label_smoothing);
          }};
}

std::optional<Evaluation> TranslationTask::evaluate(std::int64_t) {
  if (valid_.empty()) return std::nullopt;
  return evaluating([this] {
    const NoGrad no_grad;
    Evaluation out;
    const TokenMetrics tokens = token_metrics(model(), valid_, batch_options(config_.training));
    out.metrics = {
        {"validation_loss", tokens.loss}, {"perplexity", tokens.perplexity}, {"accuracy", tokens.accuracy}};
    if (!valid_sources_.empty()) {
      models::DecodingOptions greedy = config_.decoding;
      greedy.beam_size = 1;
      out.metrics["bleu"] =
          text::corpus_bleu(translator_.translate(valid_sources_, greedy), {valid_references_}).score;
    }
    const bool by_bleu = config_.training.best == "bleu" && out.metrics.contains("bleu");
    out.score = by_bleu ? out.metrics["bleu"] : -tokens.loss;
    return out;
  });
}

std::vector<Example> encode_pairs(const text::Tokenizer& tokenizer, const text::Pairs& pairs) {
  std::vector<std::string> sources;
  std::vector<std::string> targets;
  for (const text::Pair& pair : pairs) {
    sources.push_back(pair.source);
    targets.push_back(pair.target);
  }
  auto source_ids = tokenizer.encode(sources);
  auto target_ids = tokenizer.encode(targets);
  std::vector<Example> examples(pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    source_ids[i].push_back(text::kEos);  // as encode_source() does
    examples[i] = {std::move(source_ids[i]), std::move(target_ids[i])};
  }
  return examples;
}

TokenMetrics token_metrics(models::Transformer& model, const std::vector<Example>& examples,
                           const BatchOptions& options) {
  const NoGrad no_grad;
  TokenMetrics out;
  double total = 0;
  std::int64_t correct = 0;
  for (const Batch& batch : all_batches(examples, options)) {
    const Tensor memory = model.encode(batch.source, batch.source_offsets);
    const Tensor hidden = model.decode(batch.target_in, {batch.target_offsets, memory, batch.source_offsets});
    const TokenScores scores = token_scores(model.logits(hidden), batch.target_out);
    const auto* probability = scores.log_probability.data<float>();
    const auto* hit = scores.correct.data<bool>();
    for (std::int64_t i = 0; i < batch.tokens(); ++i) {
      total -= static_cast<double>(probability[i]);
      correct += hit[i] ? 1 : 0;
    }
    out.tokens += batch.tokens();
  }
  if (out.tokens == 0) return out;
  out.loss = total / static_cast<double>(out.tokens);
  out.perplexity = std::exp(out.loss);
  out.accuracy = static_cast<double>(correct) / static_cast<double>(out.tokens);
  return out;
}

}  // namespace headway::inline v1::train
