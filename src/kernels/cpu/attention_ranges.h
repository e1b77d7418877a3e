#pragma once
#include <cstdint>
#include <vector>

#include <headway/kernels/attention.h>

namespace headway::inline v1::kernels {

// Keys of one tile, of which ranges are made: a multiple of the register tiles' rows, and K, V and S of D =
// 64 stay near the L1 cache (24 KiB each).
inline constexpr std::int64_t kAttentionTileKeys = 96;

// A range of keys of one sequence. Few key/value heads alone would leave threads idle, so long sequences are
// cut, in at most four: every cut costs a copy of dQ.
struct KeyUnit {
  std::size_t sequence;
  std::int64_t begin, end;
  std::int64_t partial;    // offset of its dQ in floats, -1 where the sequence is whole
  std::int64_t distances;  // offset of its sums by distance [H][DistanceSpan]
};

// The distances between queries and keys of one sequence, and room for a vector beyond them.
struct DistanceSpan {
  std::int64_t least, count;
  explicit DistanceSpan(const SequenceDesc& s)
      : least(s.position - s.key_count + 1), count(s.query_count + s.key_count + DistanceBias::kPadding) {}
};

struct Plan {
  std::vector<KeyUnit> units;
  std::int64_t partial_floats = 0, distance_floats = 0;
};

/// The units of a backward pass, in the order of sequences and keys: a function of each sequence's shape
/// alone.
Plan plan_keys(const AttentionArgs& a);

/// True when elements of dbias are summed over sequences or heads: then no unit of keys owns them.
bool bias_is_shared(const AttentionGradArgs& args);

/// dQ of sequences that were cut: the parts of their ranges added in order.
void add_partials(const AttentionGradArgs& args, const Plan& plan, const float* partials);

/// Fills args.delta.
void sum_delta(const AttentionGradArgs& args);

/// args.ddistances += the units' sums by distance, in order.
void add_distances(const AttentionGradArgs& args, const Plan& plan, const float* sums);

}  // namespace headway::inline v1::kernels
