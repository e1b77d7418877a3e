#pragma once
#include <memory>
#include <vector>

#include <headway/models/encoder.h>
#include <headway/nn/embedding.h>
#include <headway/nn/task_head.h>

namespace headway::inline v1::models {

/// ModernBERT (Warner et al. 2024): rotary positions, pre-norm, gated feed-forward, local and global layers
/// in turn.
struct ModernBertOptions {
  std::int64_t vocabulary = 0;
  std::int64_t max_length = 8192;
  std::int64_t model_dim = 768;
  std::int64_t heads = 12;
  std::int64_t feed_forward_dim = 1152;
  nn::FeedForwardKind activation = nn::FeedForwardKind::geglu;
  double norm_eps = 1e-5;
  bool norm_bias = false, attention_bias = false, feed_forward_bias = false;
  std::vector<bool> global;        ///< of each layer: it sees everything
  std::int64_t local_window = 64;  ///< keys that the others see on each side
  RopeOptions global_rope = {.base = 160000}, local_rope = {.base = 10000};
  nn::TaskHeadOptions head = {};
  nn::Pooling head_pooling = nn::Pooling::cls;
  double dropout = 0, attention_dropout = 0;
  DType precision = DType::float32;
};

class HEADWAY_API ModernBert : public Encoder {
 public:
  ModernBert(const ModernBertOptions& options, Generator& generator);
  std::int64_t width() const override { return options_.model_dim; }
  std::int64_t max_length() const override { return options_.max_length; }
  Tensor hidden(const PackedBatch& batch, const nn::LayerObserver& observer = {}) override;
  Tensor pooled(const Tensor&, const std::vector<std::int64_t>&) override { return {}; }
  Tensor scores(const PackedBatch& batch) override;
  const ModernBertOptions& options() const { return options_; }

 private:
  ModernBertOptions options_;
  std::unique_ptr<nn::Embedding> tokens_;
  std::unique_ptr<nn::Norm> norm_;
  std::unique_ptr<nn::BlockStack> blocks_;
  std::unique_ptr<nn::TaskHead> head_;
};

}  // namespace headway::inline v1::models
