#pragma once
#include <headway/nn/encoder_layer.h>

namespace headway::inline v1::nn {

/// Where a decoder layer's rows belong, and what they attend to.
struct DecoderInput {
  std::vector<std::int64_t> offsets;         ///< [B+1], of the target rows
  Tensor memory;                             ///< [M, C], the encoder's output
  std::vector<std::int64_t> memory_offsets;  ///< [B+1]
};

/// The usual decoder block: causal self-attention, attention to the memory, then feed-forward (Vaswani 2017,
/// section 3.1), on packed rows.
class HEADWAY_API DecoderLayer : public TransformerBlock {
 public:
  DecoderLayer(const LayerOptions& options, Generator& generator);
  /// Rows [N, C] of target sequences.
  Stream operator()(const Stream& in, const DecoderInput& input);
  /// The block by itself: rows [N, C] to rows [N, C].
  Tensor operator()(const Tensor& x, const DecoderInput& input);
  const LayerOptions& options() const { return options_; }

 private:
  LayerOptions options_;
};

}  // namespace headway::inline v1::nn
