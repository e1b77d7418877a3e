#pragma once
#include <memory>

#include <headway/models/encoder.h>
#include <headway/models/language_model.h>
#include <headway/nn/embedding.h>

namespace headway::inline v1::models {

/// T5 (Raffel et al. 2020), versions 1.0 and 1.1: RMS norms, relative position buckets shared by all layers
/// of a stack, no biases, scores that are not scaled.
struct T5Config {
  std::int64_t vocabulary = 0;
  std::int64_t model_dim = 512;
  std::int64_t head_dim = 64;
  std::int64_t heads = 8;
  std::int64_t feed_forward_dim = 2048;
  std::int64_t encoder_layers = 6;
  std::int64_t decoder_layers = 6;  ///< 0: the encoder alone
  nn::FeedForwardKind activation = nn::FeedForwardKind::relu;
  std::int64_t buckets = 32, max_distance = 128;
  double norm_eps = 1e-6;
  bool tied = true;           ///< the output layer is the embedding
  bool scaled_output = true;  ///< hidden states times C^-½ before the output layer
  double dropout = 0.1;
  DType precision = DType::float32;
};

class HEADWAY_API T5 : public LanguageModel {
 public:
  T5(const T5Config& options, Generator& generator);
  std::int64_t vocabulary() const override { return options_.vocabulary; }
  std::int64_t max_length() const override { return 0; }
  bool has_encoder() const override { return true; }
  Memory encode(const PackedBatch& source) override { return {encoded(source), source.offsets}; }
  /// The encoder's hidden states [N, C].
  Tensor encoded(const PackedBatch& source, const nn::LayerObserver& observer = {});
  Tensor logits(const Tensor& hidden) const override;
  const T5Config& options() const { return options_; }

 private:
  // One stack with its table of position buckets.
  struct Side : nn::Module {
    std::unique_ptr<nn::BlockStack> blocks;
    Tensor table;  // [buckets, H]
    using nn::Module::add_child;
    using nn::Module::add_parameter;
  };
  void build(Side& side, std::int64_t layers, bool decoder, Generator& generator);
  Tensor run(const Call& call) override;
  nn::BlockStack& decoder() override;
  Tensor embed(const Tensor& ids);
  T5Config options_;
  std::unique_ptr<nn::Embedding> tokens_;
  Side encoder_, decoder_;
  Tensor output_weight_;
};

}  // namespace headway::inline v1::models
