#pragma once
#include <array>
#include <string_view>
#include <utility>

#include <headway/train/translation_config.h>

namespace headway::inline v1::train {

/// Names of an enumeration's values, in files and on the command line.
template <typename T>
struct Names;
template <>
struct Names<nn::NormPlacement> {
  static constexpr std::array<std::pair<nn::NormPlacement, std::string_view>, 2> all{
      {{nn::NormPlacement::pre, "pre"}, {nn::NormPlacement::post, "post"}}};
};
template <>
struct Names<nn::NormKind> {
  static constexpr std::array<std::pair<nn::NormKind, std::string_view>, 2> all{
      {{nn::NormKind::layer, "layer"}, {nn::NormKind::rms, "rms"}}};
};
template <>
struct Names<nn::PositionKind> {
  static constexpr std::array<std::pair<nn::PositionKind, std::string_view>, 2> all{
      {{nn::PositionKind::sinusoidal, "sinusoidal"}, {nn::PositionKind::learned, "learned"}}};
};
template <>
struct Names<nn::FeedForwardKind> {
  static constexpr std::array<std::pair<nn::FeedForwardKind, std::string_view>, 12> all{
      {{nn::FeedForwardKind::relu, "relu"},
       {nn::FeedForwardKind::gelu, "gelu"},
       {nn::FeedForwardKind::swiglu, "swiglu"},
       {nn::FeedForwardKind::gelu_tanh, "gelu_tanh"},
       {nn::FeedForwardKind::silu, "silu"},
       {nn::FeedForwardKind::geglu, "geglu"},
       {nn::FeedForwardKind::geglu_tanh, "geglu_tanh"},
       {nn::FeedForwardKind::reglu, "reglu"},
       {nn::FeedForwardKind::quick_gelu, "quick_gelu"},
       {nn::FeedForwardKind::quick_geglu, "quick_geglu"},
       {nn::FeedForwardKind::relu2, "relu2"},
       {nn::FeedForwardKind::reglu2, "reglu2"}}};
};
template <>
struct Names<nn::Projection> {
  static constexpr std::array<std::pair<nn::Projection, std::string_view>, 2> all{
      {{nn::Projection::combined, "combined"}, {nn::Projection::split, "split"}}};
};
template <>
struct Names<DType> {
  static constexpr std::array<std::pair<DType, std::string_view>, 2> all{
      {{DType::float32, "float32"}, {DType::bfloat16, "bf16"}}};
};
template <>
struct Names<text::TokenizerType> {
  static constexpr std::array<std::pair<text::TokenizerType, std::string_view>, 4> all{
      {{text::TokenizerType::bpe, "bpe"},
       {text::TokenizerType::unigram, "unigram"},
       {text::TokenizerType::characters, "char"},
       {text::TokenizerType::words, "word"}}};
};
template <>
struct Names<text::TokenizerNormalization> {
  static constexpr std::array<std::pair<text::TokenizerNormalization, std::string_view>, 2> all{
      {{text::TokenizerNormalization::identity, "identity"}, {text::TokenizerNormalization::nfkc, "nfkc"}}};
};
template <>
struct Names<Decay> {
  static constexpr std::array<std::pair<Decay, std::string_view>, 4> all{
      {{Decay::constant, "constant"},
       {Decay::inverse_sqrt, "inverse_sqrt"},
       {Decay::cosine, "cosine"},
       {Decay::linear, "linear"}}};
};

/// Calls visit(section, key, value, help) for every field: the one list that JSON and command line are made
/// from. Keys are unique across sections, so that each is a flag.
template <typename Config, typename Visit>
void each_field(Config& c, Visit&& visit) {
  visit("model", "dim", c.model.model_dim, "model dimension C");
  visit("model", "heads", c.model.heads, "attention heads H, dividing C");
  visit("model", "kv_heads", c.model.kv_heads, "key/value heads G, dividing H (0: H)");
  visit("model", "encoder_layers", c.model.encoder_layers, "layers of the encoder");
  visit("model", "decoder_layers", c.model.decoder_layers, "layers of the decoder");
  visit("model", "feed_forward", c.model.feed_forward_dim, "width of the feed-forward networks");
  visit("model", "max_length", c.model.max_length, "longest sequence in tokens");
  visit("model", "norm", c.model.norm, "pre or post");
  visit("model", "norm_kind", c.model.norm_kind, "layer or rms");
  visit("model", "positions", c.model.positions, "sinusoidal or learned");
  visit("model", "activation", c.model.activation,
        "relu, gelu, gelu_tanh, silu, swiglu, geglu, geglu_tanh or reglu");
  visit("model", "projection", c.model.projection, "combined (one matrix) or split (one per head)");
  visit("model", "dropout", c.model.dropout, "of embeddings and sublayer outputs");
  visit("model", "attention_dropout", c.model.attention_dropout, "of attention weights");
  visit("model", "activation_dropout", c.model.activation_dropout, "inside the feed-forward networks");
  visit("model", "tie_embeddings", c.model.tie_embeddings, "one table for target embedding and output");
  visit("model", "share_source", c.model.share_source, "and for the source embedding");
  visit("model", "precision", c.model.precision, "float32 or bf16 (activations; parameters stay float32)");
  visit("model", "checkpoint_activations", c.model.checkpoint_activations, "less memory, a third more time");
  visit("tokenizer", "tokenizer", c.tokenizer.type, "bpe, unigram, char or word");
  visit("tokenizer", "vocab", c.tokenizer.vocab_size, "pieces");
  visit("tokenizer", "normalization", c.tokenizer.normalization, "identity or nfkc");
  visit("tokenizer", "character_coverage", c.tokenizer.character_coverage,
        "share of characters with a piece");
  visit("tokenizer", "byte_fallback", c.tokenizer.byte_fallback, "spell unknown characters in bytes");
  visit("training", "tokens", c.training.batch_tokens, "source and target tokens of a batch");
  visit("training", "micro_batches", c.training.micro_batches,
        "of an update, their gradients summed in a fixed tree");
  visit("training", "accumulate", c.training.accumulate, "batches of a micro-batch, added one by one");
  visit("training", "steps", c.training.steps, "length of the training");
  visit("training", "minutes", c.training.minutes, "or its time on this machine");
  visit("training", "schedule", c.training.schedule.decay, "constant, inverse_sqrt, cosine or linear");
  visit("training", "rate", c.training.schedule.rate, "highest learning rate");
  visit("training", "warmup", c.training.schedule.warmup, "steps until it is reached");
  visit("training", "floor", c.training.schedule.floor, "cosine and linear end at floor times rate");
  visit("training", "beta1", c.training.adam.beta1, "Adam");
  visit("training", "beta2", c.training.adam.beta2, "Adam");
  visit("training", "epsilon", c.training.adam.eps, "Adam");
  visit("training", "weight_decay", c.training.adam.weight_decay, "of matrices");
  visit("training", "decoupled", c.training.adam.decoupled, "weight decay as in AdamW");
  visit("training", "clip", c.training.adam.clip_norm, "longest gradient (0: any)");
  visit("training", "label_smoothing", c.training.label_smoothing, "mass spread over the vocabulary");
  visit("training", "average", c.training.average_decay, "decay of the averaged weights (0: none)");
  visit("training", "evaluate_every", c.training.evaluate_every, "steps (0: at the end)");
  visit("training", "evaluate_sentences", c.training.evaluate_sentences, "of the validation set, for BLEU");
  visit("training", "checkpoint_every", c.training.checkpoint_every, "steps (0: at the end)");
  visit("training", "keep", c.training.keep, "checkpoints beside the best");
  visit("training", "patience", c.training.patience, "evaluations without a new best (0: any number)");
  visit("training", "best", c.training.best, "bleu or loss of the validation set");
  visit("training", "seed", c.training.seed, "of everything random");
  visit("decoding", "beam", c.decoding.beam_size, "1: greedy");
  visit("decoding", "length_penalty", c.decoding.length_penalty, "exponent of the length");
  visit("decoding", "max_output", c.decoding.max_length, "tokens of a translation at most");
}

}  // namespace headway::inline v1::train
