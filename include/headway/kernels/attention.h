#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <headway/attention/mask.h>
#include <headway/attention/pairs.h>
#include <headway/attention/score_modifier.h>
#include <headway/attention/tile_plan.h>
#include <headway/core/dtype.h>
#include <headway/core/export.h>
#include <headway/core/generator.h>

/// Attention over raw views, forward and backward side by side. One interface serves packed, padded and
/// cached batches: an array of sequence descriptors.
///
///   R = (Q·Kᵀ + Q'·A[distance])·scale      X = modifier(softcap(R))
///   S = X + bias(pair) + bias(distance), hidden pairs -inf
///   P = exp(S - lse), lse = log Σ_j exp S      O_i = Σ_j dropout(P)_ij·(V_j + C[distance])
///   delta = Σ_d dO∘O - dlse      dP = dropout(dO·(V + C)ᵀ)      dS = P∘(dP - delta)
///   dR = dS·modifier'∘(1 - (softcap(R)/softcap)²)
///   dQ = scale·dR·K      dK = scale·dRᵀ·Q      dV = dropout(P)ᵀ·dO      dbias = Σ dS over what it was
///   broadcast to      dQ'_i = scale·Σ_j dR_ij·A[distance]      dA, dC: Σ over the pairs of a distance
namespace headway::inline v1::kernels {

/// One sequence: rows of q and o, rows of k and v, and which keys its queries may see at most.
struct SequenceDesc {
  std::int64_t query_begin = 0, query_count = 0;
  std::int64_t key_begin = 0, key_count = 0;
  /// Query i sees keys max(0, i + low) … min(key_count - 1, i + high): causal, windows and both alignments.
  std::int64_t low = 0, high = 0;
  std::int64_t position = 0;  ///< the sequence's query n stands at n + position among its keys
  std::int64_t index = 0;     ///< in the batch: coordinate of bias, plan, weights and dropout
  /// Query i of these is number first_query + i·step of its sequence, key j number first_key + j·step: a
  /// class of a pattern by residue; all of them where step is 1.
  std::int64_t step = 1, first_query = 0, first_key = 0;

  std::int64_t query_at(std::int64_t i) const { return first_query + i * step; }
  std::int64_t key_at(std::int64_t j) const { return first_key + j * step; }
  std::int64_t query_row(std::int64_t i) const { return query_begin + query_at(i); }
  std::int64_t key_row(std::int64_t j) const { return key_begin + key_at(j); }
  std::int64_t distance(std::int64_t i, std::int64_t j) const { return query_at(i) + position - key_at(j); }
};

/// Rows of heads: element d of head h of row r is data[r·row + h·head + d].
struct HeadRows {
  const void* data = nullptr;
  std::int64_t row = 0, head = 0;
  const void* at(DType dtype, std::int64_t r, std::int64_t h) const {
    return static_cast<const char*>(data) + (r * row + h * head) * static_cast<std::int64_t>(size_of(dtype));
  }
};

/// A bias by distance d, a query's position minus its key's: element (h, d) is data[h·head + d - least].
/// float32 (reference: float64). kPadding elements after the largest distance can be read (and are 0).
struct DistanceBias {
  static constexpr std::int64_t kPadding = 64;
  const void* data = nullptr;
  std::int64_t head = 0, least = 0;
};

/// Vectors by offset e, a key's position less its query's (that is -distance), one for each of them in least
/// … least + count - 1 (Shaw et al. 2018; Dai et al. 2019): element d of offset e of head h is data[h·head +
/// (e - least)·row + d], d < width. Offsets beyond ±clip have the vectors of ±clip. float32 (reference:
/// float64).
struct RelativeRows {
  const void* data = nullptr;
  std::int64_t row = 0, head = 0;  ///< head 0: all heads share them
  std::int64_t least = 0, count = 0, width = 0;
  std::int64_t clip = std::int64_t{1} << 60;
  /// Number of a distance's row.
  std::int64_t number(std::int64_t distance) const { return std::clamp(-distance, -clip, clip) - least; }
};

struct WeightDropout {
  /// A weight is dropped when its 16 random bits are below this; 0: no dropout. Kept weights are divided by
  /// 1 - threshold/65536, the exact probability of keeping. Bits of (i, j): half number j % 8 of
  /// call.words(i | j/8 << 32, sequence·H + h).
  std::uint32_t threshold = 0;
  RandomCall call;
  double keep_scale() const { return 65536.0 / (65536.0 - threshold); }
};

struct AttentionArgs {
  DType dtype = DType::float32;  ///< of q, k, v, o: float32 or bfloat16 (reference: float64)
  std::span<const SequenceDesc> sequences;
  std::int64_t heads = 0, kv_heads = 0, dim = 0, value_dim = 0;  // H, G, D, Dv
  HeadRows q, k, v;
  double scale = 1;
  const void* bias = nullptr;  ///< float32 (reference: float64), or null
  PairStrides bias_strides;
  DistanceBias distances;
  double softcap = 0;  ///< scores become softcap·tanh(score / softcap) before any bias; 0: they stay
  const ScoreModifier* modifier = nullptr;  ///< what comes after the softcap, or null
  RelativeRows relative_keys;               ///< A: [D]
  HeadRows relative_query;                  ///< Q', laid out as q; wanted with relative_keys
  RelativeRows relative_values;             ///< C: [Dv]
  /// Who may see whom, in place of the descriptors' bounds, which then leave everything visible: compiled for
  /// the fused kernels, as it is for the reference. Null: the bounds say it.
  const TilePlan* plan = nullptr;
  const Mask* mask = nullptr;
  WeightDropout dropout;
  HeadRows o;           ///< output of forward; input of backward
  void* lse = nullptr;  ///< [H, lse_rows] float32 (reference: float64), indexed by row of q
  std::int64_t lse_rows = 0;
};

struct AttentionGradArgs {
  AttentionArgs forward;
  HeadRows d_o;
  const void* d_lse = nullptr;  ///< gradient of lse, laid out as lse; null: none
  HeadRows dq, dk, dv;  ///< outputs, written whole for the rows that sequences name; data null: not wanted
  void* dbias =
      nullptr;  ///< float32 (reference: float64), added to; elements where bias is broadcast are summed
  PairStrides dbias_strides;
  std::int64_t bias_batches = 1, bias_heads = 1, bias_queries = 1;  ///< sizes of bias in those dimensions
  void* ddistances = nullptr;  ///< laid out as forward.distances; added to
  HeadRows d_relative_query;   ///< written whole where forward.relative_keys are
  /// Laid out as the rows they belong to; added to, or null where not wanted.
  void *d_relative_keys = nullptr, *d_relative_values = nullptr;
  void* d_modifier = nullptr;  ///< of the modifier's parameters; added to, or null
};

/// Bytes of workspace for `threads` threads.
HEADWAY_API std::size_t attention_forward_workspace(const AttentionArgs& args, int threads);
HEADWAY_API void attention_forward(const AttentionArgs& args, void* workspace);
HEADWAY_API std::size_t attention_backward_workspace(const AttentionGradArgs& args, int threads);
HEADWAY_API void attention_backward(const AttentionGradArgs& args, void* workspace);

/// Which of its numbers a pair shows.
enum class PairValue {
  score,  ///< S: capped, with its biases; -inf where hidden
  weight  ///< P itself, before dropout; 0 where hidden
};

struct PairOutput {
  void* data = nullptr;  ///< float32 (reference: float64), at strides' (b, h, i, j)
  PairStrides strides;
  /// Over heads; strides.head is not read. Scores are averaged where nothing is hidden.
  bool averaged = false;
  PairValue value = PairValue::weight;
};

/// Written for every pair of every sequence; what lies outside the sequences is not touched. lse is read for
/// weights alone.
HEADWAY_API std::size_t attention_weights_workspace(const AttentionArgs& args, int threads);
HEADWAY_API void attention_weights(const AttentionArgs& args, const PairOutput& out, void* workspace);

/// How products of bfloat16 are computed: in pairs by the instruction for it (AVX-512 BF16), weights and dS
/// being rounded to bfloat16 as its factors; or widened to float32.
enum class PairProducts {
  best,    ///< in pairs where the processor has the instruction
  never,   ///< widened
  always,  ///< in pairs, though computed by widening them where AVX2 is the best there is: slow, for tests
};
/// For all calls that follow, on all threads; returns what was set before.
HEADWAY_API PairProducts set_pair_products(PairProducts products);

/// What a call's products come to, without doing them. Needs shapes, descriptors and plan alone.
struct TileSummary {
  const char* isa = "";                        ///< instruction set the kernels run with, as Highway names it
  bool pairs = false;                          ///< bfloat16 is multiplied in pairs
  std::int64_t query_block = 0, key_tile = 0;  ///< sizes of a tile
  std::int64_t full = 0, partial = 0;          ///< tiles visited, over all sequences and heads
  double computed_pairs = 0;                   ///< pairs that the products compute, hidden ones among them
  double relative_keys = 0, relative_values = 0;  ///< pairs of a relative row and a query that they compute
};
HEADWAY_API TileSummary summarize_tiles(const AttentionArgs& args);

namespace reference {
/// The same in plain float64 loops: the oracle.
HEADWAY_API void attention_forward(const AttentionArgs& args);
HEADWAY_API void attention_backward(const AttentionGradArgs& args);
HEADWAY_API void attention_weights(const AttentionArgs& args, const PairOutput& out);
}  // namespace reference

}  // namespace headway::inline v1::kernels
