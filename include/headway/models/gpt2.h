#pragma once
#include <memory>

#include <headway/models/language_model.h>
#include <headway/nn/embedding.h>
#include <headway/nn/positions.h>

namespace headway::inline v1::models {

/// GPT-2 (Radford et al. 2019): learned positions, pre-norm.
struct Gpt2Options {
  std::int64_t vocabulary = 0;
  std::int64_t max_length = 1024;
  std::int64_t model_dim = 768;
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  std::int64_t feed_forward_dim = 3072;
  nn::FeedForwardKind activation = nn::FeedForwardKind::gelu_tanh;
  double norm_eps = 1e-5;
  bool scaled_attention = true;  ///< scores times D^-½
  bool scaled_by_layer = false;  ///< scores of layer i divided by i + 1
  bool tied = true;              ///< the output layer is the embedding
  double dropout = 0.1, attention_dropout = 0.1;
  DType precision = DType::float32;
  bool checkpoint_activations = false;
};

class HEADWAY_API Gpt2 : public LanguageModel {
 public:
  Gpt2(const Gpt2Options& options, Generator& generator);
  std::int64_t vocabulary() const override { return options_.vocabulary; }
  std::int64_t max_length() const override { return options_.max_length; }
  Tensor logits(const Tensor& hidden) const override;
  const Gpt2Options& options() const { return options_; }

 private:
  Tensor run(const Call& call) override;
  nn::BlockStack& decoder() override { return *blocks_; }
  Gpt2Options options_;
  std::unique_ptr<nn::Embedding> tokens_;
  std::unique_ptr<nn::Positions> positions_;
  std::unique_ptr<nn::BlockStack> blocks_;
  Tensor output_weight_;
};

}  // namespace headway::inline v1::models
