#pragma once
#include <memory>
#include <vector>

#include <headway/models/encoder.h>
#include <headway/nn/embedding.h>
#include <headway/nn/positions.h>
#include <headway/nn/task_head.h>

namespace headway::inline v1::models {

/// BERT (Devlin et al. 2019) and what is built like it: RoBERTa, XLM-R, DistilBERT, MiniLM, ALBERT.
struct BertOptions {
  std::int64_t vocabulary = 0;
  std::int64_t max_length = 512;   ///< positions that a sequence may have
  std::int64_t types = 2;          ///< token types (segments); 0: none
  std::int64_t embedding_dim = 0;  ///< E, projected to C (ALBERT); 0: C, without a projection
  std::int64_t model_dim = 768;    ///< C
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  std::vector<std::int64_t> layer_order = {};  ///< the block of each layer, where layers share them (ALBERT)
  std::int64_t feed_forward_dim = 3072;
  nn::FeedForwardKind activation = nn::FeedForwardKind::gelu;
  double norm_eps = 1e-12;
  /// RoBERTa's positions begin behind this token's id, and tokens equal to it are not counted; negative:
  /// positions begin at 0 and every token counts.
  std::int32_t padding = -1;
  bool pooler = true;  ///< tanh(W·first row + b)
  nn::TaskHeadOptions head = {};
  nn::Pooling head_pooling = nn::Pooling::cls;
  bool head_takes_pooled = true;  ///< HeadKind::classes reads the pooler's result, not the first row
  double dropout = 0.1, attention_dropout = 0.1;
  DType precision = DType::float32;  ///< of activations; parameters stay float32
};

class HEADWAY_API Bert : public Encoder {
 public:
  Bert(const BertOptions& options, Generator& generator);
  std::int64_t width() const override { return options_.model_dim; }
  std::int64_t max_length() const override { return options_.max_length; }
  Tensor hidden(const PackedBatch& batch, const nn::LayerObserver& observer = {}) override;
  Tensor pooled(const Tensor& hidden, const std::vector<std::int64_t>& offsets) override;
  Tensor scores(const PackedBatch& batch) override;
  const BertOptions& options() const { return options_; }

 private:
  Tensor position_ids(const PackedBatch& batch) const;
  BertOptions options_;
  std::unique_ptr<nn::Embedding> tokens_, types_;
  std::unique_ptr<nn::Positions> positions_;
  std::unique_ptr<nn::Norm> norm_;
  std::unique_ptr<nn::Linear> projection_, pooler_;
  std::unique_ptr<nn::BlockStack> blocks_;
  std::unique_ptr<nn::TaskHead> head_;
};

}  // namespace headway::inline v1::models
