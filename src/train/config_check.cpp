#include <map>
#include <string_view>
#include <type_traits>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/fork.h>
#include <headway/core/quote.h>
#include <headway/train/translation_config.h>

#include "train/config_fields.h"
#include "train/range.h"

namespace headway::inline v1::train {
namespace {

constexpr double kManySteps = 1e12;

constinit core::MadeOnce<const std::map<std::string_view, Range>> the_ranges;
const std::map<std::string_view, Range>& ranges() {
  return the_ranges.get([] {
    return std::map<std::string_view, Range>{
        {"dim", whole(1)},
        {"heads", whole(1)},
        {"kv_heads", whole(0)},
        {"encoder_layers", whole(1)},
        {"decoder_layers", whole(1)},
        {"feed_forward", whole(1)},
        {"max_length", whole(1)},
        {"dropout", share()},
        {"attention_dropout", share()},
        {"activation_dropout", share()},
        {"vocab", whole(0)},
        {"character_coverage", {.low = 0, .high = 1, .low_end = Range::End::open}},
        {"tokens", whole(1)},
        {"micro_batches", whole(1)},
        {"accumulate", whole(1)},
        {"steps", whole(0, kManySteps)},
        {"minutes", {.low = 0, .high = 1e9}},
        {"rate", from_zero()},
        {"warmup", whole(0, kManySteps)},
        {"floor", {.low = 0, .high = 1}},
        {"beta1", share()},
        {"beta2", share()},
        {"epsilon", above_zero()},
        {"weight_decay", from_zero()},
        {"clip", from_zero()},
        {"label_smoothing", share()},
        {"average", share()},
        {"evaluate_every", whole(0, kManySteps)},
        {"evaluate_sentences", whole(0)},
        {"checkpoint_every", whole(0, kManySteps)},
        {"keep", whole(1)},
        {"patience", whole(0)},
        {"seed", any_seed()},
        {"beam", whole(1)},
        {"length_penalty", from_zero()},
        {"max_output", whole(1)},
    };
  });
}

}  // namespace

void check(const TranslationConfig& config) {
  each_field(config, [](const char*, const char* key, const auto& value, const char*) {
    using T = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      const auto range = ranges().find(key);
      if (range == ranges().end()) fail(ErrorCode::internal, "train", fmt::format("{} has no range", key));
      if (!range->second.holds(value))
        fail(ErrorCode::value, "train",
             fmt::format("{} is {}; want {}", key, value, range->second.wanted<T>()));
    }
  });
  if (config.training.steps > 0 && config.training.minutes > 0) {
    fail(ErrorCode::value, "train",
         fmt::format("steps is {} and minutes {}; want one of them above 0", config.training.steps,
                     config.training.minutes));
  }
  if (config.training.best != "bleu" && config.training.best != "loss")
    fail(ErrorCode::value, "train",
         fmt::format("best is {}; want bleu or loss", quoted(config.training.best)));
}

}  // namespace headway::inline v1::train
