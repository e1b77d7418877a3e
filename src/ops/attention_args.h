#pragma once
#include <vector>

#include <headway/kernels/attention.h>
#include <headway/ops/attention.h>

namespace headway::inline v1::ops {

/// Heads as rows: a tensor [B, T, heads, dim] or [N, heads, dim], whose sequences are `sequence_rows` apart.
struct HeadsView {
  Tensor tensor;
  bool packed = false;
  std::int64_t batch = 0, length = 0;  ///< B and T; packed: 1 and N
  std::int64_t heads = 0, dim = 0;
  std::int64_t row = 0, head = 0;  ///< strides in elements
  std::int64_t sequence_rows = 0;  ///< rows from one sequence to the next, in units of `row`
  kernels::HeadRows rows() const {
    return {tensor.device() == Device::meta ? nullptr : tensor.raw(), row, head};
  }
};

/// Error(shape) naming `argument` unless x has 3 or 4 dimensions. Copies only when the strides cannot be
/// walked by rows, or leave gaps between sequences where they may not (a cache's keys may).
HeadsView view_heads(const char* argument, const Tensor& x, bool gaps_allowed = false);

/// The kernels' view of one call, with everything it points to.
struct AttentionCall {
  kernels::AttentionArgs args;
  std::vector<kernels::SequenceDesc> sequences;
  /// What the descriptors' bounds do not say: everything, when they say it all. Compiled where the fused
  /// kernels want it.
  Mask mask;
  TilePlan plan;
  /// Biases by distance [H, count + padding], from distance args.distances.least on; undefined without a
  /// position.
  Tensor distances;
  std::int64_t distance_count = 0;
  Position::Vectors key_vectors, value_vectors;
  Tensor relative_query;  ///< what args.relative_query points to
  ScoreModifier modifier;
  std::int64_t longest_query = 0, longest_key = 0;
  std::vector<std::int64_t> key_counts;  ///< of every sequence, before a mask shortens any
  double visible_pairs = 0;              ///< over all sequences and heads
  /// Points args at the members above; again after a move.
  void bind();
};

/// Vectors by offset as the kernels see them.
kernels::RelativeRows relative_rows(const Position::Vectors& vectors);
/// Every pair's number at `stage`: [B, H, T, S] or averaged [B, T, S], float32 (of float64: float64). For
/// Scores::softmaxed the call's log-sum-exp must have been computed.
Tensor attention_scores(const AttentionCall& call, Weights kind, Scores stage, Device device);

/// Fills call.sequences: their rows, from offsets, starts or lengths. Error(shape) or Error(value) where
/// those do not fit.
void add_sequences(const HeadsView& q, const HeadsView& k, const AttentionOptions& options,
                   AttentionCall& call);

/// Checks everything (shapes, dtypes, masks, offsets) and lowers it. Output and log-sum-exp are left to the
/// caller.
AttentionCall lower(const HeadsView& q, const HeadsView& k, const HeadsView& v,
                    const AttentionOptions& options);

}  // namespace headway::inline v1::ops
