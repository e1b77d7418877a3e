#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include <headway/core/export.h>
#include <headway/models/decoding.h>
#include <headway/models/transformer_options.h>
#include <headway/text/tokenizer.h>
#include <headway/train/optimizer.h>
#include <headway/train/schedule.h>

namespace headway::inline v1::train {

/// How a translator is trained.
struct TranslationTraining {
  std::int64_t batch_tokens = 4096;  ///< source and target tokens of a batch
  std::int64_t micro_batches = 1;    ///< of an update, summed in a fixed tree
  std::int64_t accumulate = 1;       ///< batches of a micro-batch
  std::int64_t steps = 0;            ///< length of the training, or …
  double minutes = 0;                ///< … its time on this machine, turned into steps once
  Schedule schedule;
  AdamOptions adam;
  double label_smoothing = 0.1;
  double average_decay = 0;               ///< exponential average of the weights; 0: none
  std::int64_t evaluate_every = 0;        ///< in steps; 0: at the end alone
  std::int64_t evaluate_sentences = 300;  ///< of the validation set, for BLEU during training
  std::int64_t checkpoint_every = 0;      ///< in steps; 0: at the end alone
  std::int64_t keep = 3;                  ///< checkpoints kept beside the best
  std::int64_t patience = 0;              ///< evaluations without a new best before stopping; 0: never
  std::string best = "bleu";  ///< what makes a checkpoint the best: "bleu" or "loss" of the validation set
  std::uint64_t seed = 1;
};

/// Everything that makes one translator differ from another; config.json of a checkpoint.
struct TranslationConfig {
  models::TransformerOptions model;
  text::TokenizerOptions tokenizer;
  TranslationTraining training;
  models::DecodingOptions decoding;  ///< what translate() uses unless told otherwise
};

/// Error(value) naming the first field that is out of its range, and the range. NaN is out of every range.
HEADWAY_API void check(const TranslationConfig& config);

/// As JSON text with format_version.
HEADWAY_API std::string to_json(const TranslationConfig& config);
/// Error(format) beginning with `what` for text that is no JSON, unknown keys, wrong types, or a newer
/// format_version. Keys that are missing keep the values of `defaults`.
HEADWAY_API TranslationConfig translation_config_from_json(std::string_view json, std::string_view what,
                                                           const TranslationConfig& defaults = {});

}  // namespace headway::inline v1::train
