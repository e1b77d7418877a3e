#include <headway/train/translation.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/io/atomic_file.h>
#include <headway/ops/loss.h>
#include <headway/text/bleu.h>
#include <headway/train/checkpoint.h>
#include <headway/train/fingerprint.h>

#include "text/utf8.h"

namespace headway::inline v1::train {
namespace {

models::TranslationBatch as_model_input(const Batch& batch) {
  return {batch.source, batch.target_in, batch.target_out, batch.source_offsets, batch.target_offsets};
}

// The first line in which two configurations differ, or empty.
std::string difference(const TranslationConfig& a, const TranslationConfig& b) {
  const std::string left = to_json(a);
  const std::string right = to_json(b);
  std::size_t i = 0;
  for (std::size_t line = 0; i < std::min(left.size(), right.size()) && left[i] == right[i]; ++i) {
    if (left[i] == '\n') line = i + 1;
    if (i + 1 < std::min(left.size(), right.size()) && left[i + 1] != right[i + 1]) {
      const auto cut = [&](const std::string& text) {
        return text.substr(line, text.find('\n', line) - line);
      };
      return fmt::format("recorded {}, asked for {}", cut(left), cut(right));
    }
  }
  return left == right ? "" : "the configurations differ in length";
}

Fingerprints fingerprints_of(const TranslationData& data) {
  Fingerprints sets;
  for (const auto& [name, pairs] : {std::pair{"train", &data.train}, {"valid", &data.valid}}) {
    Fingerprint& set = sets[name];
    for (const text::Pair& pair : *pairs) set.add(pair.source + '\t' + pair.target);
  }
  return sets;
}

void require_text(const text::Pairs& pairs, std::string_view set) {
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const bool no_source = text::normalize_space(pairs[i].source).empty();
    if (!no_source && !text::normalize_space(pairs[i].target).empty()) continue;
    fail(ErrorCode::value, "train",
         fmt::format("pair {} of {} has a blank {}; want text on both sides", i + 1, set,
                     no_source ? "source" : "target"));
  }
}

// A run goes on with the data it began with. Checkpoints of earlier versions do not say which that were.
void require_same_data(const std::filesystem::path& checkpoint, const TranslationData& data,
                       const TranslationCallbacks& callbacks) {
  const std::filesystem::path file = checkpoint / kFingerprintFile;
  if (!std::filesystem::exists(file)) {
    if (callbacks.on_note)
      callbacks.on_note(fmt::format("{} does not say what it was trained on: going on with what is given",
                                    checkpoint.string()));
    return;
  }
  const Fingerprints recorded = fingerprints_from_json(io::read_file(file), file.string());
  if (const std::string where = difference(recorded, fingerprints_of(data)); !where.empty()) {
    fail(ErrorCode::value, "train",
         fmt::format("{} was trained on other data ({}); want the same, or a new folder", checkpoint.string(),
                     where));
  }
}

// The number of steps is a target, which may be set further away. Where the rate depends on it, that changes
// what comes next, and is said.
void move_target(const TranslationConfig& config, const TrainState& state,
                 const TranslationCallbacks& callbacks) {
  const std::int64_t asked = config.training.steps;
  if (asked == 0 || asked == state.total_steps) return;
  if (asked < state.step) {
    fail(ErrorCode::value, "train",
         fmt::format("steps is {}, the run has made {}; want at least so many", asked, state.step));
  }
  std::string line = fmt::format("steps: {} instead of {}", asked, state.total_steps);
  if (needs_length(state.schedule) && state.step < asked && state.schedule.steps > 0) {
    Schedule stretched = state.schedule;
    stretched.steps = asked;
    line += fmt::format("; the {} schedule is stretched to them: step {} has the rate {:.3g}, not {:.3g}",
                        name_of(stretched.decay), state.step + 1, learning_rate(stretched, state.step + 1),
                        learning_rate(state.schedule, state.step + 1));
  }
  if (callbacks.on_note) callbacks.on_note(line);
}

struct Start {
  TranslationConfig config;
  std::optional<text::Tokenizer> tokenizer;
  bool resumed = false;
};

// The tokenizer of the run that is there, or a new one; and the configuration completed by its vocabulary.
Start begin(const TranslationConfig& config, const TranslationData& data, const std::filesystem::path& folder,
            const TranslationCallbacks& callbacks) {
  Start start{config, {}, false};
  if (std::filesystem::exists(folder)) {
    CheckpointStore store(folder);
    store.recover();
    if (const auto latest = store.latest()) {
      const auto path = *latest / "config.json";
      TranslationConfig recorded = translation_config_from_json(io::read_file(path), path.string());
      start.config.model.source_vocab = recorded.model.source_vocab;
      start.config.model.target_vocab = recorded.model.target_vocab;
      if (config.training.steps > 0) {  // a target, not a part of what the run is
        recorded.training.steps = config.training.steps;
        recorded.training.minutes = 0;
      }
      if (const std::string where = difference(recorded, start.config); !where.empty()) {
        fail(ErrorCode::value, "train",
             fmt::format("{} holds a run of another configuration ({}); want the same, or a new folder",
                         folder.string(), where));
      }
      require_same_data(*latest, data, callbacks);
      move_target(config, read_state(*latest), callbacks);
      start.tokenizer = text::Tokenizer::load(*latest / "tokenizer.model");
      start.resumed = true;
      return start;
    }
  }
  std::vector<std::string> sentences;
  for (const text::Pair& pair : data.train) {
    sentences.push_back(pair.source);
    sentences.push_back(pair.target);
  }
  start.tokenizer = text::Tokenizer::train(sentences, config.tokenizer);
  start.config.model.source_vocab = start.config.model.target_vocab = start.tokenizer->vocab_size();
  return start;
}

std::vector<ParameterGroup> groups_of(const models::Transformer& model, const AdamOptions& adam) {
  if (adam.weight_decay > 0) return groups_by_rank(model.parameters());
  return {ParameterGroup{.parameters = model.parameters()}};
}

BatchOptions batch_options(const TranslationTraining& training) {
  return {.tokens = training.batch_tokens, .bos = text::kBos, .eos = text::kEos, .seed = training.seed};
}

class Run {
 public:
  Run(const Start& start, const TranslationData& data, const TranslationCallbacks& callbacks)
      : config_(start.config),
        callbacks_(callbacks),
        generator_(config_.training.seed),
        translator_(config_, start.tokenizer.value(),
                    std::make_unique<models::Transformer>(config_.model, generator_)),
        adam_(groups_of(model(), config_.training.adam), config_.training.adam),
        batches_(fitting(data.train), batch_options(config_.training)),
        valid_(encode_pairs(translator_.tokenizer(), data.valid)),
        fingerprints_(to_json(fingerprints_of(data))) {
    const auto count = std::min<std::size_t>(
        data.valid.size(),
        static_cast<std::size_t>(std::max<std::int64_t>(config_.training.evaluate_sentences, 0)));
    for (std::size_t i = 0; i < count; ++i) {
      valid_sources_.push_back(data.valid[i].source);
      valid_references_.push_back(data.valid[i].target);
    }
    note(fmt::format("{} parameters, vocabulary {}, {} pairs, {} batches per epoch",
                     model().parameter_count(), config_.model.target_vocab, batches_.examples().size(),
                     batches_.batches()));
  }

  TrainSummary train(const std::filesystem::path& folder, const std::atomic<bool>* stop) {
    model().train(generator_);
    TrainerParts parts;
    parts.parameters = model().parameters();
    parts.optimizer = &adam_;
    parts.batches = &batches_;
    parts.generator = &generator_;
    parts.loss = [this](const Batch& batch) {
      return model().loss(as_model_input(batch), config_.training.label_smoothing);
    };
    const TranslationTraining& t = config_.training;
    TrainerOptions options;
    options.folder = folder;
    options.steps = t.steps;
    options.minutes = t.minutes;
    options.schedule = t.schedule;
    options.accumulate = t.accumulate;
    options.average_decay = t.average_decay;
    options.evaluate_every = t.evaluate_every;
    options.checkpoint_every = t.checkpoint_every;
    options.keep = static_cast<int>(t.keep);
    options.patience = t.patience;
    options.files = {{"config.json", to_json(config_)},
                     {"tokenizer.model", translator_.tokenizer().to_bytes()},
                     {kFingerprintFile, fingerprints_}};
    options.stop = stop;
    TrainerCallbacks calls;
    calls.on_step = callbacks_.on_step;
    calls.on_checkpoint = callbacks_.on_checkpoint;
    if (!valid_.empty()) {
      calls.evaluate = [this](std::int64_t) { return evaluate(); };
      calls.on_evaluation = [this](std::int64_t step, const Evaluation& evaluation, bool best) {
        if (!callbacks_.on_evaluation) return;
        // The caller may translate: in evaluation mode, which must not outlast the call (there would be no
        // dropout).
        model().eval();
        callbacks_.on_evaluation(step, evaluation, best, translator_);
        model().train(generator_);
      };
    }
    const TrainSummary summary = train::train(parts, options, calls);
    model().eval();
    return summary;
  }

 private:
  models::Transformer& model() { return translator_.model(); }
  void note(const std::string& line) const {
    if (callbacks_.on_note) callbacks_.on_note(line);
  }

  // Pairs the model is long enough for; the others are left out, and said to be.
  std::vector<Example> fitting(const text::Pairs& pairs) const {
    std::vector<Example> examples = encode_pairs(translator_.tokenizer(), pairs);
    const auto limit =
        static_cast<std::size_t>(std::min(config_.model.max_length, config_.training.batch_tokens / 2));
    const auto dropped = std::erase_if(
        examples, [&](const Example& e) { return e.source.size() > limit || e.target.size() + 1 > limit; });
    if (dropped > 0)
      note(fmt::format("{} pairs have more than {} tokens on a side and are left out", dropped, limit));
    if (examples.empty()) fail(ErrorCode::value, "train", "there is no pair to train on");
    return examples;
  }

  Evaluation evaluate() {
    model().eval();
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
    model().train(generator_);
    return out;
  }

  TranslationConfig config_;
  const TranslationCallbacks& callbacks_;
  Generator generator_;
  Translator translator_;
  Adam adam_;
  BatchStream batches_;
  std::vector<Example> valid_;
  std::string fingerprints_;
  std::vector<std::string> valid_sources_, valid_references_;
};

}  // namespace

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

TrainSummary train_translation(const TranslationConfig& config, const TranslationData& data,
                               const std::filesystem::path& folder, const TranslationCallbacks& callbacks,
                               const std::atomic<bool>* stop) {
  check(config);
  require_text(data.train, "the training data");
  require_text(data.valid, "the validation data");
  const Start start = begin(config, data, folder, callbacks);
  if (start.resumed && callbacks.on_note)
    callbacks.on_note(fmt::format("going on with the run in {}", folder.string()));
  return Run(start, data, callbacks).train(folder, stop);
}

}  // namespace headway::inline v1::train
