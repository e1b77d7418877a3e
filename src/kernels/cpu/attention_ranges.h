#pragma once
#include <cstdint>
#include <vector>

#include <headway/kernels/attention.h>

namespace headway::inline v1::kernels {

// Keys of one tile, of which ranges are made: a multiple of the register tiles' rows, and K, V and S of D =
// 64 stay near the L1 cache (24 KiB each).
inline constexpr std::int64_t kAttentionTileKeys = 96;

// The distances between queries and keys of one sequence, and room for a vector beyond them.
struct DistanceSpan {
  std::int64_t least, count;
  explicit DistanceSpan(const SequenceDesc& s)
      : least(s.position - s.key_count + 1), count(s.query_count + s.key_count + DistanceBias::kPadding) {}
};

// What a unit sums up for one head beside dQ, dK and dV, in floats: by distance, of the relative rows, of the
// modifier's parameters. 0 where not wanted.
struct HeadLayout {
  std::int64_t distances = 0, keys = 0, values = 0, parameters = 0;
  std::int64_t first_key_row = 0, first_value_row = 0;  // numbers of the first relative rows
  HeadLayout(const AttentionGradArgs& args, const SequenceDesc& s);
  std::int64_t total() const { return distances + keys + values + parameters; }
};

// What a thread of the backward pass has room for: the longest sequence. dK and dV are kept for one tile, or
// for all keys while a group of query heads, or a plan that is walked by queries, adds to them.
struct BackwardExtent {
  std::int64_t queries = 0, keys = 0;
  bool all_keys;
  explicit BackwardExtent(const AttentionArgs& a);
};

// What a range of keys adds to dQ [H][queries][D], and to dQ' where there is one; then [H][blocks of
// queries]: 0 for those that it has not met, whose rows are not written.
struct PartialQueries {
  std::int64_t rows, blocks, heads;  // rows: floats of dQ, behind which dQ' begins
  bool relative;
  PartialQueries(const AttentionArgs& a, const SequenceDesc& s)
      : rows(a.heads * s.query_count * a.dim),
        blocks((s.query_count + TilePlan::kQueries - 1) / TilePlan::kQueries),
        heads(a.heads),
        relative(a.relative_keys.data) {}
  std::int64_t met() const { return relative ? 2 * rows : rows; }
  std::int64_t floats() const { return met() + heads * blocks; }
};

// A range of keys of one sequence, or of its classes. Few key/value heads alone would leave threads idle, so
// long sequences are cut, in at most four: every cut costs a copy of dQ. Classes share no rows, and cost
// none.
struct KeyUnit {
  std::size_t sequence;
  bool classes;  // what begin and end count, of a plan that gathers: its classes, or keys
  std::int64_t begin, end;
  std::int64_t partial;  // offset of its dQ (and dQ') in floats, -1 where none is cut
  std::int64_t sums;     // offset of its [H][HeadLayout] in its wave's
};

// Units [begin, end), whose sums are held at once.
struct Wave {
  std::size_t begin, end;
};

struct Plan {
  std::vector<KeyUnit> units;
  std::vector<Wave> waves;
  std::int64_t partial_floats = 0, sums_floats = 0;
  std::int64_t held = 0;  // floats of sums in the last wave
};

/// The units of a backward pass, in the order of sequences and keys: a function of each sequence's shape
/// alone. Of whole tiles, if there are any; and of classes, which add to what those have stored.
Plan plan_ranges(const AttentionGradArgs& args);
Plan plan_classes(const AttentionGradArgs& args);

/// True when elements of dbias are summed over sequences, heads or ranges of keys: then no unit of keys owns
/// them.
bool bias_is_shared(const AttentionGradArgs& args, const Plan& plan);

/// dQ (and dQ') of sequences that were cut: the parts of their ranges added in order.
void add_partials(const AttentionGradArgs& args, const Plan& plan, const float* partials);

/// What the units of a wave have summed up is added to where it belongs, in order.
void add_sums(const AttentionGradArgs& args, const Plan& plan, const Wave& wave, const float* sums);

}  // namespace headway::inline v1::kernels
