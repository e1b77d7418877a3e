#pragma once
#include <functional>
#include <memory>
#include <vector>

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

/// Who looks at whom in one sentence pair: for each layer [H, T, S] float32, rows summing to 1.
struct AttentionMaps {
  std::vector<Tensor> encoder_self, decoder_self, cross;
};

/// Hypotheses on their way, one row each.
struct DecoderState {
  std::vector<nn::DecoderLayerState> layers;
  std::int64_t position = 0;  ///< of the next token, the same for all rows
  /// Row r becomes the former row from[r].
  void reorder(const std::vector<std::int32_t>& from);
};

/// The encoder-decoder Transformer ("Attention is all you need", Vaswani et al. 2017). Batches are packed:
/// [N, C] rows with offsets, so that padding costs nothing. Linears start Xavier-uniform, embeddings normal
/// with deviation C^-½.
class HEADWAY_API Transformer : public nn::Module {
 public:
  Transformer(const TransformerOptions& options, Generator& generator);

  /// Source ids [N] int32 -> memory [N, C]. Error(value) for an id outside the vocabulary or a sentence
  /// longer than max_length, naming its place.
  Tensor encode(const Tensor& ids, const std::vector<std::int64_t>& offsets);
  /// Target ids [M] int32 with what they translate -> hidden [M, C]; row i has seen the target up to i.
  Tensor decode(const Tensor& ids, const nn::DecoderInput& input);
  /// hidden [M, C] -> [M, target_vocab] float32.
  Tensor logits(const Tensor& hidden) const;
  /// Mean cross-entropy per target token.
  Tensor loss(const TranslationBatch& batch, double label_smoothing = 0);

  /// All attention weights of one pair; `target` as it enters the decoder, with the start token. Evaluation
  /// only.
  AttentionMaps inspect_attention(const std::vector<std::int32_t>& source,
                                  const std::vector<std::int32_t>& target);

  /// Step-by-step decoding: begins with no row; the first step has one row for each hypothesis. Evaluation
  /// only.
  DecoderState start(const Tensor& memory, const std::vector<std::int64_t>& memory_offsets);
  /// The next token of each hypothesis, [R] int32 -> hidden [R, C]. Hypotheses of source b are rows
  /// query_offsets[b] … query_offsets[b+1] - 1; a source may have none.
  Tensor step(const Tensor& ids, DecoderState& state, const std::vector<std::int64_t>& query_offsets);

  const TransformerOptions& options() const { return options_; }
  /// The table shared by target embedding and, when tied, output projection.
  const Tensor& target_embedding() const { return target_embedding_->weight(); }

 private:
  using Layer = std::function<nn::Stream(const nn::Stream& in, const Tensor& memory)>;
  nn::Stream run(const Layer& layer, const nn::Stream& in, const Tensor& memory = {});
  nn::Stream embed(const Tensor& ids, const nn::Embedding& table, const nn::Positions& positions,
                   const Tensor& position_ids);
  Tensor finish(const nn::Stream& stream, const std::unique_ptr<nn::Norm>& norm);
  Tensor encode(const Tensor& ids, const std::vector<std::int64_t>& offsets,
                std::vector<nn::LayerAttention>* seen);
  Tensor decode(const Tensor& ids, const nn::DecoderInput& input, std::vector<nn::LayerAttention>* seen);

  // Gives the stacks their names: "encoder.0.self_attention.weight".
  struct Stack : nn::Module {
    std::vector<std::unique_ptr<nn::EncoderLayer>> encoder;
    std::vector<std::unique_ptr<nn::DecoderLayer>> decoder;
    std::unique_ptr<nn::Norm> norm;  // pre-norm stacks end in one
    using nn::Module::add_child;
  };

  TransformerOptions options_;
  std::unique_ptr<nn::Embedding> source_embedding_;  // null when shared with the target's
  std::unique_ptr<nn::Embedding> target_embedding_;
  std::unique_ptr<nn::Positions> source_positions_, target_positions_;
  Stack encoder_, decoder_;
  Tensor output_weight_;  // [V, C]: the target embedding's when tied
};

}  // namespace headway::inline v1::models
