#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <headway/nn/transformer_block.h>

namespace headway::inline v1::nn {

struct StackOptions {
  std::vector<BlockOptions> blocks = {};  ///< with weights of their own
  std::vector<std::int64_t> order =
      {};  ///< the block of each layer, where layers share blocks (ALBERT); none: each its own
  std::optional<NormLayerOptions> norm = {};  ///< at the end; none by itself
  /// Keep only the borders of layers for the backward pass: less memory, a third more time, the same bits.
  bool checkpoint = false;
  double dropout = 0;  ///< of what the last block adds, before the norm
};

/// Told of each layer's result, [N, C], as it is: layer 0 is the stack's input, the last is before the final
/// norm.
using LayerObserver = std::function<void(std::int64_t layer, const Tensor& hidden)>;

/// Transformer blocks one after another, and a norm. Children: "0", "1", …, "norm".
class HEADWAY_API BlockStack : public Module {
 public:
  BlockStack(const StackOptions& options, Generator& generator);
  /// Rows [N, C] to rows [N, C]. `input` goes to every block; with `states` layer i has states[i]. With
  /// `seen` layer i leaves its attention weights in seen[i].
  Tensor operator()(const Tensor& x, const BlockInput& input, std::vector<BlockState>* states = nullptr,
                    const LayerObserver& observer = {}, std::vector<LayerAttention>* seen = nullptr);
  /// The same with an input of its own for each layer.
  Tensor run(const Tensor& x, const std::function<BlockInput(std::int64_t layer)>& input,
             const LayerObserver& observer = {});
  /// Projects memories into rows of every layer's state.
  void remember(const Tensor& memory, const std::vector<std::int64_t>& offsets,
                std::vector<BlockState>& states, const std::vector<std::int64_t>& rows);
  std::int64_t layers() const;
  TransformerBlock& block(std::int64_t layer);

 private:
  Stream step(TransformerBlock& block, const Stream& in, const BlockInput& input);
  StackOptions options_;
  std::vector<std::unique_ptr<TransformerBlock>> blocks_;
  std::unique_ptr<Norm> norm_;
};

}  // namespace headway::inline v1::nn
