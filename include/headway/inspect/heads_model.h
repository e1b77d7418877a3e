#pragma once
#include <memory>
#include <vector>

#include <headway/attention/mask.h>
#include <headway/inspect/compare.h>
#include <headway/nn/embedding.h>
#include <headway/nn/feed_forward.h>
#include <headway/nn/linear.h>
#include <headway/nn/norm.h>
#include <headway/nn/positions.h>

namespace headway::inline v1::inspect {

struct HeadsModelOptions {
  std::int64_t vocabulary = 0;  ///< V, of input and output
  std::int64_t length = 0;      ///< T
  std::int64_t model_dim = 64, heads = 4, layers = 2;
  Mask mask = {};
};

/// The smallest model in which any way of having heads can learn: pre-norm blocks between an embedding with
/// learned positions and a projection to the vocabulary. Models of two kinds differ in their attention alone.
class HEADWAY_API HeadsModel : public nn::Module {
 public:
  HeadsModel(Heads kind, const HeadsModelOptions& options, Generator& generator);

  struct Result {
    Tensor logits;                ///< [B·T, V]
    std::vector<Tensor> weights;  ///< of each block [B, H, T, T], where they were asked for
  };
  /// ids [B, T] int32.
  Result attend(const Tensor& ids, Weights weights);
  Tensor operator()(const Tensor& ids) { return attend(ids, Weights::none).logits; }

 private:
  struct Block;
  HeadsModelOptions options_;
  nn::Embedding embedding_;
  nn::Positions positions_;
  nn::Norm last_;
  nn::Linear output_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

}  // namespace headway::inline v1::inspect
