#pragma once
#include <memory>
#include <vector>

#include <headway/models/language_model.h>
#include <headway/nn/embedding.h>
#include <headway/nn/linear.h>

namespace headway::inline v1::models {

/// One layer of a decoder that is built like Llama.
struct LlamaLayer {
  std::int64_t window = 0;  ///< keys that a position sees, itself among them; 0: all before it
  RopeOptions rope = {};
};

/// Llama (Touvron et al. 2023) and what is built like it: Mistral, Qwen 2 and 3, Gemma 2 and 3, OLMo 2.
/// Rotary positions, gated feed-forward, RMS norms.
struct LlamaOptions {
  std::int64_t vocabulary = 0;
  std::int64_t max_length = 0;  ///< 0: any
  std::int64_t model_dim = 0;
  std::int64_t heads = 0, kv_heads = 0;
  std::int64_t head_dim = 0;  ///< 0: C/H
  std::int64_t feed_forward_dim = 0;
  std::vector<LlamaLayer> layers;
  nn::FeedForwardKind activation = nn::FeedForwardKind::swiglu;
  nn::NormPlacement placement = nn::NormPlacement::pre;
  nn::NormKind norm_kind = nn::NormKind::rms;
  double norm_eps = 1e-6;
  bool norm_unit_offset = false;  ///< norms scale by 1 + weight (Gemma)
  nn::QkNorm qk_norm = nn::QkNorm::none;
  bool qkv_bias = false, output_bias = false, feed_forward_bias = false;
  /// false: a position sees those behind it too, its window reaches half as far to each side, and the model
  /// embeds but writes nothing (EmbeddingGemma).
  bool causal = true;
  double attention_scale = 0;  ///< 0: head_dim^-½
  double attention_softcap = 0, logit_softcap = 0;
  bool scaled_embedding = false;  ///< embeddings times C^½ (Gemma)
  bool tied = false;              ///< the output layer is the embedding
  std::int64_t classes = 0;       ///< a head that scores the last token instead of the output layer; 0: none
  double dropout = 0, attention_dropout = 0;
  DType precision = DType::float32;
  bool checkpoint_activations = false;
};

class HEADWAY_API Llama : public LanguageModel {
 public:
  Llama(const LlamaOptions& options, Generator& generator);
  std::int64_t vocabulary() const override { return options_.vocabulary; }
  std::int64_t max_length() const override { return options_.max_length; }
  Tensor logits(const Tensor& hidden) const override;
  const LlamaOptions& options() const { return options_; }

 private:
  Tensor run(const Call& call) override;
  nn::BlockStack& decoder() override { return *blocks_; }
  LlamaOptions options_;
  std::unique_ptr<nn::Embedding> tokens_;
  std::unique_ptr<nn::BlockStack> blocks_;
  Tensor output_weight_;
};

}  // namespace headway::inline v1::models
