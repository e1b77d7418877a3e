#pragma once
#include <memory>
#include <vector>

#include <headway/nn/feed_forward.h>
#include <headway/nn/multi_head_attention.h>
#include <headway/nn/sublayer.h>

namespace headway::inline v1::nn {

/// A block made of parts: self-attention, attention to a memory where there is one, feed-forward.
struct BlockOptions {
  MultiHeadAttentionOptions attention;  ///< of the queries' own sequence; its width is the block's
  bool causal = false;                  ///< a position sees those before it and itself alone
  /// Keys that a position sees on each side of its own, with `causal` before it alone: it sees window + 1
  /// keys at most. Negative: all of them.
  std::int64_t window = -1;
  bool cross = false;  ///< attends to a memory between the two others
  MultiHeadAttentionOptions cross_attention = {};
  FeedForwardOptions feed_forward;
  NormLayerOptions norm;
  NormPlacement placement = NormPlacement::pre;
  bool attention_norm = true;  ///< false, with NormPlacement::pre: attention reads what the block is given
  double residual_scale = 1;   ///< what each part adds is multiplied by it
  double dropout = 0;          ///< of what each part adds
};

/// Attention weights of one layer, [B, H, T, S].
struct LayerAttention {
  Tensor self, cross;
};

/// What a block keeps of sequences that grow step by step: one row of its caches for each.
struct BlockState {
  KeyValueCache self, memory;
};

/// Which sequences the packed rows of a call belong to, and what they attend to.
struct BlockInput {
  std::vector<std::int64_t> offsets = {};         ///< [B+1], of the rows
  Tensor memory = {};                             ///< [M, C], of a block with cross-attention
  std::vector<std::int64_t> memory_offsets = {};  ///< [B+1]
  /// In place of the self-attention's own: a table or projection that several blocks share.
  Position position = {};
  /// So many rows of zeros stand before each sequence, as keys and values alone (the first memory of a
  /// Transformer-XL). In a state's caches they are from begin() on.
  std::int64_t zeros_before = 0;
  /// Where sequences go on: their rows of the state's caches. Evaluation only; empty: every sequence begins
  /// here.
  std::vector<std::int64_t> rows = {}, memory_rows = {};
  /// With a state: queries memory_queries[m] … [m + 1] - 1 attend to the memory in row memory_rows[m].
  std::vector<std::int64_t> memory_queries = {};
  BlockState* state = nullptr;
  LayerAttention* seen = nullptr;  ///< takes the weights of this call
};

/// One Transformer block on packed rows (Vaswani 2017, section 3.1), of any kind that the options say.
class HEADWAY_API TransformerBlock : public Module {
 public:
  TransformerBlock(const BlockOptions& options, Generator& generator);
  /// Rows [N, C] of sequences at input.offsets, as a residual stream. With input.state the rows join their
  /// sequences in its caches.
  Stream operator()(const Stream& in, const BlockInput& input);
  /// The block by itself: rows [N, C] to rows [N, C].
  Tensor operator()(const Tensor& x, const BlockInput& input);
  /// Projects memories into rows of state.memory, for calls with that state.
  void remember(const Tensor& memory, const std::vector<std::int64_t>& offsets, BlockState& state,
                const std::vector<std::int64_t>& rows);
  /// Gives sequences that have no tokens yet the keys and values of so many rows of zeros.
  void begin(BlockState& state, const std::vector<std::int64_t>& rows, std::int64_t zeros);
  /// The stream as one tensor, as this block would add it.
  Tensor settled(const Stream& stream) const { return settle(stream, how()); }
  const BlockOptions& options() const { return options_; }

 private:
  struct Branch {  // the norms around one part
    std::unique_ptr<Norm> norm, output_norm;
    BranchNorms norms() const { return {norm.get(), output_norm.get()}; }
  };
  Branch add_branch(const char* name, bool has_norm);
  SublayerOptions how() const;
  Tensor attend_self(const Tensor& x, const BlockInput& input);
  Tensor attend_memory(const Tensor& x, const BlockInput& input);
  Tensor zero_row(DType dtype) const;

  BlockOptions options_;
  Branch self_branch_, cross_branch_, feed_forward_branch_;
  std::unique_ptr<MultiHeadAttention> self_attention_, cross_attention_;
  std::unique_ptr<FeedForward> feed_forward_;
};

}  // namespace headway::inline v1::nn
