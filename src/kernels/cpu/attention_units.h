#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <headway/kernels/attention.h>

namespace headway::inline v1::kernels {

/// True when a plan gathers classes, and when there is anything beside them.
inline bool has_classes(const AttentionArgs& a) { return a.plan && a.plan->step() > 1; }
inline bool has_whole_tiles(const AttentionArgs& a) { return !a.plan || a.plan->has_whole_tiles(); }

/// Class `residue` of a sequence, as its plan numbers it.
inline SequenceDesc residue_class(const AttentionArgs& a, SequenceDesc s, std::int64_t residue) {
  const TilePlan::ResidueClass part = a.plan->residue_class(s.index, residue);
  s.step = a.plan->step();
  s.query_count = part.queries;
  s.key_count = part.keys;
  s.first_query = part.first_query;
  s.first_key = part.first_key;
  return s;
}

/// True when a sequence has a single query without what wants blocks: it goes along the head dimension, and
/// in ranges of keys.
inline bool is_row(const AttentionArgs& a, const SequenceDesc& s) {
  return s.query_count == 1 && !has_classes(a) && !a.dropout.threshold && !a.relative_keys.data &&
         !a.relative_values.data && !a.modifier;
}

/// How many ranges the keys of such a sequence are cut in, which are the only units there are. Depends on the
/// sequence's shape alone.
inline std::int64_t row_ranges(const SequenceDesc& s) {
  // 256 keys of 8 heads and D = 128 are 2 MiB, some 70 us of reading; handing a range out and merging its
  // [H][D] takes a few. 32 ranges let 16 threads end together.
  constexpr std::int64_t kKeysWorth = 256, kUnitsWanted = 32;
  return std::clamp<std::int64_t>(s.key_count / kKeysWorth, 1, kUnitsWanted);
}

/// One range of keys of a sequence with one query.
struct RowRange {
  const SequenceDesc* sequence;
  std::int64_t ranges;  // of the sequence
  std::int64_t begin, end;
  std::int64_t
      results;  // offset in floats of its [H][width]: an output in whole vectors, and its log-sum-exp
  static std::int64_t width(const AttentionArgs& a) {
    constexpr std::int64_t kLongestVector = 64;
    return (a.value_dim / kLongestVector + 1) * kLongestVector;
  }
};

/// A block of queries of one sequence, or of one of its classes: with a head, a unit of work that depends on
/// that sequence's shape alone.
struct QueryUnit {
  SequenceDesc sequence;
  std::int64_t first;
};

inline void add_query_blocks(const SequenceDesc& s, std::int64_t block, std::vector<QueryUnit>& units) {
  // The last blocks first: under a causal mask they are the longest, and the pool ends evenly.
  const std::int64_t blocks = (s.query_count + block - 1) / block;
  for (std::int64_t b = blocks - 1; b >= 0; --b) units.push_back({s, b * block});
}

inline std::vector<QueryUnit> query_blocks(const AttentionArgs& args, std::int64_t block) {
  std::vector<QueryUnit> units;
  for (const SequenceDesc& s : args.sequences) add_query_blocks(s, block, units);
  return units;
}

/// The same without the sequences that rows take.
inline std::vector<QueryUnit> forward_blocks(const AttentionArgs& args, std::int64_t block) {
  std::vector<QueryUnit> units;
  for (const SequenceDesc& s : args.sequences) {
    if (!is_row(args, s)) add_query_blocks(s, block, units);
  }
  return units;
}

/// Of the classes of a plan that gathers; empty for all others.
inline std::vector<QueryUnit> class_blocks(const AttentionArgs& args, std::int64_t block) {
  std::vector<QueryUnit> units;
  for (const SequenceDesc& s : args.sequences) {
    for (std::int64_t r = 0; has_classes(args) && r < args.plan->step(); ++r)
      add_query_blocks(residue_class(args, s, r), block, units);
  }
  return units;
}

/// Heads of a sequence that are done one after another: enough to be worth handing out, and each can have the
/// next one's rows fetched. Depends on the sequence's shape alone.
inline std::int64_t heads_together(const AttentionArgs& args, const SequenceDesc& s, std::int64_t block) {
  constexpr double kWorth = 1e6;  // operations: some 10 us
  const double operations = 2.0 * static_cast<double>(std::min(block, s.query_count)) *
                            static_cast<double>(std::max<std::int64_t>(s.key_count, 1)) *
                            static_cast<double>(args.dim + args.value_dim);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(kWorth / std::max(operations, 1.0)), 1,
                                  args.heads);
}

/// A block of queries with heads [head_begin, head_end).
struct HeadsUnit : QueryUnit {
  std::int64_t head_begin, head_end;
};

inline std::vector<HeadsUnit> with_heads(const AttentionArgs& args, const std::vector<QueryUnit>& parts,
                                         std::int64_t block) {
  std::vector<HeadsUnit> units;
  for (const QueryUnit& part : parts) {
    const std::int64_t together = heads_together(args, part.sequence, block);
    for (std::int64_t h = 0; h < args.heads; h += together)
      units.push_back({part, h, std::min(h + together, args.heads)});
  }
  return units;
}

}  // namespace headway::inline v1::kernels
