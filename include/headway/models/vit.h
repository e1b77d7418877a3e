#pragma once
#include <memory>

#include <headway/models/encoder.h>
#include <headway/nn/linear.h>
#include <headway/nn/task_head.h>

namespace headway::inline v1::models {

/// Vision Transformer (Dosovitskiy et al. 2021): an image is a sequence of patches.
struct VitOptions {
  std::int64_t image_height = 224, image_width = 224;  ///< that the positions were trained for
  std::int64_t patch_height = 16, patch_width = 16;
  std::int64_t channels = 3;
  std::int64_t model_dim = 768;
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  std::int64_t feed_forward_dim = 3072;
  nn::FeedForwardKind activation = nn::FeedForwardKind::gelu;
  double norm_eps = 1e-12;
  bool qkv_bias = true;
  bool pooler = false;
  std::int64_t pooler_width = 0;  ///< 0: C
  nn::HeadActivation pooler_activation = nn::HeadActivation::tanh;
  nn::TaskHeadOptions head = {};
  nn::Pooling pooling = nn::Pooling::cls;  ///< what the head reads; mean: over the patches
  double dropout = 0, attention_dropout = 0;
  DType precision = DType::float32;
};

class HEADWAY_API Vit : public Encoder {
 public:
  Vit(const VitOptions& options, Generator& generator);
  std::int64_t width() const override { return options_.model_dim; }
  std::int64_t max_length() const override {
    return 1 + patches(options_.image_height, options_.image_width);
  }
  std::vector<std::int64_t> offsets(const PackedBatch& batch) const override;
  /// batch.images [B, channels, height, width] float32, whole patches. Images of another size than the
  /// positions were trained for get interpolated ones (bicubic, as the paper's section 3.2 asks).
  Tensor hidden(const PackedBatch& batch, const nn::LayerObserver& observer = {}) override;
  Tensor pooled(const Tensor& hidden, const std::vector<std::int64_t>& offsets) override;
  Tensor scores(const PackedBatch& batch) override;
  const VitOptions& options() const { return options_; }

 private:
  std::int64_t patches(std::int64_t height, std::int64_t width) const {
    return height / options_.patch_height * (width / options_.patch_width);
  }
  Tensor patch_rows(const Tensor& images) const;
  Tensor positions_for(std::int64_t height, std::int64_t width) const;
  VitOptions options_;
  std::unique_ptr<nn::Linear> projection_, pooler_;
  Tensor class_row_, positions_;  // [1, C], [1 + patches, C]
  std::unique_ptr<nn::BlockStack> blocks_;
  std::unique_ptr<nn::TaskHead> head_;
};

}  // namespace headway::inline v1::models
