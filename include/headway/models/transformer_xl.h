#pragma once
#include <memory>
#include <vector>

#include <headway/models/language_model.h>
#include <headway/nn/linear.h>

namespace headway::inline v1::models {

/// Transformer-XL (Dai et al. 2019): relative positions, and a memory of the states before a segment.
struct TransformerXlOptions {
  std::int64_t vocabulary = 0;
  std::vector<std::int64_t> cutoffs =
      {};  ///< where clusters of rarer tokens begin (Grave et al. 2017); none: one cluster
  std::int64_t embedding_dim = 0;  ///< of the most frequent cluster; 0: C
  /// Cluster i has a table of width embedding_dim / divisor^i; with 1 all of them are rows of one.
  std::int64_t divisor = 1;
  std::vector<bool> tied_projections = {};  ///< of each cluster: the output uses the embedding's projection
  bool tied = true;                         ///< the output layers are the embeddings
  std::int64_t model_dim = 410, heads = 10, head_dim = 41, feed_forward_dim = 2100, layers = 16;
  /// States kept before a segment; a sequence begins with as many of zeros, as the authors' program does.
  std::int64_t memory = 0;
  std::int64_t clamp = 0;     ///< distances beyond it count as it; 0: none do
  bool same_length = false;   ///< every position sees `memory` keys, itself among them
  bool shared_biases = true;  ///< u and v are the same in all layers
  bool pre_norm = false;      ///< norms before attention and feed-forward, not after; none at the end
  double norm_eps = 1e-5;
  double dropout = 0.1, attention_dropout = 0;
};

class HEADWAY_API TransformerXl : public LanguageModel {
 public:
  TransformerXl(const TransformerXlOptions& options, Generator& generator);
  std::int64_t vocabulary() const override { return options_.vocabulary; }
  std::int64_t max_length() const override { return 0; }
  /// Log-probabilities (an adaptive softmax has no common logits; Grave et al. 2017, eq. 4).
  Tensor logits(const Tensor& hidden) const override;
  const TransformerXlOptions& options() const { return options_; }

 private:
  struct Cluster {
    std::int64_t begin = 0, size = 0, width = 0;
    Tensor table = {};              // [size, width]; with a divisor of 1 [V, width], the same for all
    Tensor projection = {};         // [C, width]; undefined: width is C
    Tensor output_table = {};       // as table
    Tensor output_projection = {};  // [C, width]
    Tensor output_bias = {};        // [size] or [V]
  };
  struct Biases {
    Tensor relative_weight;    // [H·D, C], W_R
    Tensor content, position;  // u and v, [H, D]
  };
  void build_clusters(Generator& generator);
  Tensor embed(const Tensor& ids) const;
  Tensor run(const Call& call) override;
  nn::BlockStack& decoder() override { return *blocks_; }
  void after_step(std::vector<nn::BlockState>& states, const std::vector<std::int64_t>& sequences) override;
  void begin(const Call& call);
  Position position(std::size_t layer, const Tensor& distances) const;

  TransformerXlOptions options_;
  std::vector<Cluster> clusters_;
  Tensor cluster_weight_, cluster_bias_;  // [clusters - 1, width], [clusters - 1]
  std::vector<Biases> biases_;
  std::unique_ptr<nn::BlockStack> blocks_;
};

}  // namespace headway::inline v1::models
