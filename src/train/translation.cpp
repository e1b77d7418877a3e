#include <headway/train/translation.h>

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include <headway/io/atomic_file.h>
#include <headway/train/checkpoint.h>
#include <headway/train/fingerprint.h>

#include "text/utf8.h"

#include "train/translation_task.h"

namespace headway::inline v1::train {
namespace {

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

TrainerOptions trainer_options(const TranslationConfig& config, const std::filesystem::path& folder) {
  const TranslationTraining& t = config.training;
  TrainerOptions options;
  options.folder = folder;
  options.steps = t.steps;
  options.minutes = t.minutes;
  options.schedule = t.schedule;
  options.micro_batches = t.micro_batches;
  options.accumulate = t.accumulate;
  options.average_decay = t.average_decay;
  options.evaluate_every = t.evaluate_every;
  options.checkpoint_every = t.checkpoint_every;
  options.keep = static_cast<int>(t.keep);
  options.patience = t.patience;
  return options;
}

}  // namespace

TrainSummary train_translation(const TranslationConfig& config, const TranslationData& data,
                               const std::filesystem::path& folder, const TranslationCallbacks& callbacks,
                               const std::atomic<bool>* stop) {
  check(config);
  require_text(data.train, "the training data");
  require_text(data.valid, "the validation data");
  const Start start = begin(config, data, folder, callbacks);
  if (start.resumed && callbacks.on_note)
    callbacks.on_note(fmt::format("going on with the run in {}", folder.string()));
  TranslationTask task(start.config, *start.tokenizer, data, callbacks.on_note);
  Adam adam(groups_of(task.model(), config.training.adam), config.training.adam);
  TrainerOptions options = trainer_options(start.config, folder);
  options.files = {{"config.json", to_json(start.config)},
                   {"tokenizer.model", start.tokenizer->to_bytes()},
                   {kFingerprintFile, to_json(fingerprints_of(data))}};
  options.stop = stop;
  TrainerCallbacks calls;
  calls.on_step = callbacks.on_step;
  calls.on_checkpoint = callbacks.on_checkpoint;
  calls.on_evaluation = [&](std::int64_t step, const Evaluation& evaluation, bool best) {
    if (!callbacks.on_evaluation) return;
    // The caller may translate.
    task.evaluating([&] { callbacks.on_evaluation(step, evaluation, best, task.translator()); });
  };
  return Trainer(task, adam, options, calls).run();
}

}  // namespace headway::inline v1::train
