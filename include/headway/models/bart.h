#pragma once
#include <memory>

#include <headway/models/language_model.h>
#include <headway/nn/embedding.h>
#include <headway/nn/positions.h>

namespace headway::inline v1::models {

/// BART (Lewis et al. 2020) and Marian (Junczys-Dowmunt et al. 2018): post-norm encoder–decoders.
struct BartOptions {
  std::int64_t source_vocabulary = 0, vocabulary = 0;  ///< source_vocabulary 0: one table for both sides
  std::int64_t max_length = 1024;
  std::int64_t model_dim = 1024;
  std::int64_t encoder_layers = 12, decoder_layers = 12;
  std::int64_t encoder_heads = 16, decoder_heads = 16;
  std::int64_t encoder_feed_forward_dim = 4096, decoder_feed_forward_dim = 4096;
  nn::FeedForwardKind activation = nn::FeedForwardKind::gelu;
  nn::PositionKind positions = nn::PositionKind::learned;  ///< learned: BART; sinusoidal, in halves: Marian
  std::int64_t position_offset = 2;  ///< rows of a learned table before that of position 0
  bool scaled_embedding = false;     ///< embeddings times C^½
  bool embedding_norm = true;        ///< BART's; Marian has none
  bool output_bias = true;           ///< added to the logits
  double dropout = 0.1, attention_dropout = 0, activation_dropout = 0;
  DType precision = DType::float32;
};

class HEADWAY_API Bart : public LanguageModel {
 public:
  Bart(const BartOptions& options, Generator& generator);
  std::int64_t vocabulary() const override { return options_.vocabulary; }
  std::int64_t max_length() const override { return options_.max_length; }
  bool has_encoder() const override { return true; }
  Memory encode(const PackedBatch& source) override { return {encoded(source), source.offsets}; }
  /// The encoder's hidden states [N, C].
  Tensor encoded(const PackedBatch& source, const nn::LayerObserver& observer = {});
  Tensor logits(const Tensor& hidden) const override;
  const BartOptions& options() const { return options_; }

 private:
  struct Side : nn::Module {
    std::unique_ptr<nn::Embedding> tokens;  // null where the decoder's serves both
    std::unique_ptr<nn::Positions> positions;
    std::unique_ptr<nn::Norm> norm;
    std::unique_ptr<nn::BlockStack> blocks;
    using nn::Module::add_child;
  };
  void build(Side& side, bool decoder, Generator& generator);
  Tensor embed(const Side& side, const Tensor& ids, const Tensor& positions);
  Tensor run(const Call& call) override;
  nn::BlockStack& decoder() override { return *decoder_.blocks; }
  BartOptions options_;
  Side encoder_, decoder_;
  Tensor output_bias_;  // [V]
};

}  // namespace headway::inline v1::models
