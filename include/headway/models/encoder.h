#pragma once
#include <headway/models/batch.h>
#include <headway/nn/block_stack.h>

namespace headway::inline v1::models {

/// Everything that turns a sequence into vectors, to embed or to classify it.
class HEADWAY_API Encoder : public nn::Module {
 public:
  virtual std::int64_t width() const = 0;
  /// Tokens of the longest sequence.
  virtual std::int64_t max_length() const = 0;
  /// Rows that sequence b becomes: its tokens, or an image's patches.
  virtual std::vector<std::int64_t> offsets(const PackedBatch& batch) const { return batch.offsets; }
  /// Hidden states [N, C]. Differentiable.
  virtual Tensor hidden(const PackedBatch& batch, const nn::LayerObserver& observer = {}) = 0;
  /// The vector [B, C] that the model itself makes of each sequence; undefined where it has no such layer.
  virtual Tensor pooled(const Tensor& hidden, const std::vector<std::int64_t>& offsets) = 0;
  /// What its output head says: classes [B, K], tokens [N, K], spans [N, 2], masked tokens [N, V].
  /// Error(unsupported) without a head.
  virtual Tensor scores(const PackedBatch& batch) = 0;
};

}  // namespace headway::inline v1::models
