#pragma once
#include <memory>
#include <vector>

#include <headway/models/language_model.h>
#include <headway/models/transformer_options.h>
#include <headway/nn/decoder_layer.h>
#include <headway/nn/embedding.h>

namespace headway::inline v1::models {

/// Sentence pairs, packed: sentence b is rows offsets[b] … offsets[b+1] - 1.
struct TranslationBatch {
  Tensor source;      ///< [N] int32
  Tensor target_in;   ///< [M] int32: begins with the start token
  Tensor target_out;  ///< [M] int32: the same one further, ends with the end token; -1: ignored
  std::vector<std::int64_t> source_offsets;  ///< [B+1], from 0 to N
  std::vector<std::int64_t> target_offsets;  ///< [B+1], from 0 to M
};

/// Attention weights of one sentence pair: for each layer [H, T, S] float32, rows summing to 1.
struct AttentionMaps {
  std::vector<Tensor> encoder_self, decoder_self, cross;
};

/// The encoder-decoder Transformer ("Attention is all you need", Vaswani et al. 2017). Batches are packed:
/// [N, C] rows with offsets, so that padding costs nothing. Linears start Xavier-uniform, embeddings normal
/// with deviation C^-½.
class HEADWAY_API Transformer : public LanguageModel {
 public:
  Transformer(const TransformerOptions& options, Generator& generator);

  /// Source ids [N] int32 -> memory [N, C]. Error(value) for an id outside the vocabulary or a sentence
  /// longer than max_length, naming its place.
  Tensor encode(const Tensor& ids, const std::vector<std::int64_t>& offsets);
  Memory encode(const PackedBatch& source) override;
  /// Target ids [M] int32 with what they translate -> hidden [M, C]; row i has seen the target up to i.
  Tensor decode(const Tensor& ids, const nn::DecoderInput& input);
  /// hidden [M, C] -> [M, target_vocab] float32.
  Tensor logits(const Tensor& hidden) const override;
  /// Mean cross-entropy per target token.
  Tensor loss(const TranslationBatch& batch, double label_smoothing = 0);

  /// All attention weights of one pair; `target` as it enters the decoder, with the start token. Evaluation
  /// only.
  AttentionMaps inspect_attention(const std::vector<std::int32_t>& source,
                                  const std::vector<std::int32_t>& target);

  std::int64_t vocabulary() const override { return options_.target_vocab; }
  std::int64_t max_length() const override { return options_.max_length; }
  bool has_encoder() const override { return true; }
  const TransformerOptions& options() const { return options_; }
  /// The table shared by target embedding and, when tied, output projection.
  const Tensor& target_embedding() const { return target_embedding_->weight(); }

 private:
  using Seen = std::vector<nn::LayerAttention>;
  Tensor run(const Call& call) override { return run_decoder(call, nullptr); }
  nn::BlockStack& decoder() override { return *decoder_; }
  Tensor run_decoder(const Call& call, Seen* seen);
  Tensor run_encoder(const Tensor& ids, const std::vector<std::int64_t>& offsets, Seen* seen);
  Tensor embed(const Tensor& ids, const nn::Embedding& table, const nn::Positions& positions,
               const Tensor& position_ids);

  TransformerOptions options_;
  std::unique_ptr<nn::Embedding> source_embedding_;  // null when shared with the target's
  std::unique_ptr<nn::Embedding> target_embedding_;
  std::unique_ptr<nn::Positions> source_positions_, target_positions_;
  std::unique_ptr<nn::BlockStack> encoder_, decoder_;
  Tensor output_weight_;  // [V, C]: the target embedding's when tied
};

}  // namespace headway::inline v1::models
