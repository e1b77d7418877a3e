#include <headway/models/transformer_options.h>

#include <string_view>

#include <fmt/format.h>

namespace headway::inline v1::models {
namespace {

constexpr std::string_view kOperation = "Transformer";

void at_least_one(std::string_view name, std::int64_t got) {
  if (got < 1) fail(ErrorCode::shape, kOperation, fmt::format("{} is {}; want at least 1", name, got));
}

void probability(std::string_view name, double got) {
  if (!(got >= 0 && got < 1)) {
    fail(ErrorCode::value, kOperation, fmt::format("{} is {}; want a probability in [0, 1)", name, got));
  }
}

}  // namespace

void check(const TransformerOptions& options) {
  at_least_one("source_vocab", options.source_vocab);
  at_least_one("target_vocab", options.target_vocab);
  at_least_one("model_dim", options.model_dim);
  at_least_one("heads", options.heads);
  at_least_one("encoder_layers", options.encoder_layers);
  at_least_one("decoder_layers", options.decoder_layers);
  at_least_one("feed_forward_dim", options.feed_forward_dim);
  at_least_one("max_length", options.max_length);
  probability("dropout", options.dropout);
  probability("attention_dropout", options.attention_dropout);
  probability("activation_dropout", options.activation_dropout);
  if (options.share_source && options.source_vocab != options.target_vocab) {
    fail(ErrorCode::shape, kOperation,
         fmt::format(
             "share_source wants one vocabulary, source_vocab is {} and target_vocab {}; train one tokenizer "
             "on both languages, or turn share_source off",
             options.source_vocab, options.target_vocab));
  }
  if (options.precision != DType::float32 && options.precision != DType::bfloat16) {
    fail(ErrorCode::dtype, kOperation,
         fmt::format("precision is {}; want float32 or bfloat16", name_of(options.precision)));
  }
}

nn::LayerOptions layer_options(const TransformerOptions& options) {
  return {.model_dim = options.model_dim,
          .heads = options.heads,
          .kv_heads = options.kv_heads,
          .feed_forward_dim = options.feed_forward_dim,
          .feed_forward = options.activation,
          .norm = options.norm,
          .norm_kind = options.norm_kind,
          .dropout = options.dropout,
          .attention_dropout = options.attention_dropout,
          .activation_dropout = options.activation_dropout,
          .projection = options.projection};
}

}  // namespace headway::inline v1::models
