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

}  // namespace headway::inline v1::kernels
