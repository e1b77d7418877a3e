#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <headway/kernels/attention.h>

namespace headway::inline v1::kernels {

/// A block of queries of one sequence: with a head, a unit of work that depends on that sequence's shape
/// alone.
struct QueryUnit {
  std::size_t sequence;
  std::int64_t first;
};

inline std::vector<QueryUnit> query_blocks(const AttentionArgs& args, std::int64_t block) {
  std::vector<QueryUnit> units;
  for (std::size_t s = 0; s < args.sequences.size(); ++s) {
    // The last blocks first: under a causal mask they are the longest, and the pool ends evenly.
    const std::int64_t blocks = (args.sequences[s].query_count + block - 1) / block;
    for (std::int64_t b = blocks - 1; b >= 0; --b) units.push_back({s, b * block});
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

}  // namespace headway::inline v1::kernels
