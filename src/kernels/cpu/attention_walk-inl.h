// The walk of attention's passes: blocks of queries, the tiles of keys that a block meets, and, within a tile
// along a diagonal, the runs of keys that the same vectors see. What is hidden is not visited.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_WALK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_WALK_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_WALK_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_WALK_INL_H_
#endif

#include <algorithm>
#include <bit>

#include <headway/kernels/attention.h>

#include "kernels/cpu/attention_ranges.h"
#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Of one block: K and V are read once for so many, and a block of Q, transposed, is 16 KiB at D = 64.
constexpr std::int64_t kQueries = TilePlan::kQueries;
static_assert(kQueries % kLanes == 0);
// Runs are cut at so many queries (and keys): whole vectors, wide enough for full register tiles.
constexpr std::int64_t kRunQueries = kLanes > 16 ? kLanes : 16;
constexpr std::int64_t kKeys = kAttentionTileKeys;

// One block of queries of one head, and how many vectors hold it.
struct QueryBlock {
  std::int64_t begin, count;
  int vectors;
  QueryBlock(std::int64_t first, std::int64_t total)
      : begin(first),
        count(std::min(kQueries, total - first)),
        vectors(static_cast<int>((count + kLanes - 1) / kLanes)) {}
};

struct KeyRange {
  std::int64_t begin, end;
};

// Keys that at least one query of the block may see.
inline KeyRange visible_keys(const SequenceDesc& s, const QueryBlock& block) {
  const std::int64_t begin = std::clamp<std::int64_t>(block.begin + s.low, 0, s.key_count);
  return {begin, std::clamp<std::int64_t>(block.begin + block.count + s.high, begin, s.key_count)};
}

// Keys [begin, end) that a block of queries meets in one step. Score tiles hold key j in row j - begin.
struct Tile {
  std::int64_t begin, end;
  // From a plan: the word of key `begin`, or null where every pair is seen, and the queries that see any of
  // it.
  bool planned = false;
  const std::uint64_t* bits = nullptr;
  std::uint64_t live = 0;
  std::int64_t keys() const { return end - begin; }
};

// The keys of one vector of the block, with the others of its run. A last vector's spare lanes count as
// queries.
inline KeyRange vector_keys(const SequenceDesc& s, const QueryBlock& block, int vector, const Tile& tile) {
  const std::int64_t first = block.begin + vector * kLanes / kRunQueries * kRunQueries;
  const std::int64_t begin = std::clamp(first + s.low, tile.begin, tile.end);
  return {begin, std::clamp(first + kRunQueries + s.high, begin, tile.end)};
}

// First key of the tile that holds key j: without a plan tiles start at multiples of kKeys, whatever the
// bounds, so that draws and sums do not depend on them.
inline std::int64_t tile_begin(std::int64_t j) { return j / kKeys * kKeys; }

// Calls body(tile) for what the block sees of `keys`, in order.
template <class Body>
void for_tiles(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
               const KeyRange& keys, const Body& body) {
  if (!a.plan) {
    const KeyRange seen = visible_keys(s, block);
    std::int64_t begin = std::max(seen.begin, keys.begin);
    if (a.dropout.threshold) begin = begin / 8 * 8;  // its draws cover eight keys at a time
    const std::int64_t end = std::min(seen.end, keys.end);
    for (std::int64_t tile = tile_begin(begin); tile < end; tile += kKeys)
      body(Tile{.begin = std::max(tile, begin), .end = std::min(tile + kKeys, end)});
    return;
  }
  static_assert(TilePlan::kLongest <= kKeys && TilePlan::kKeys % 8 == 0);
  for (const TilePlan::Tile& tile : a.plan->tiles(s.index, h, block.begin / kQueries)) {
    std::int64_t begin = std::max(tile.begin, keys.begin), end = std::min(tile.end, keys.end);
    if (begin >= end) continue;
    const std::uint64_t* bits = nullptr;
    if (tile.bits >= 0) {  // keys at both ends that nobody sees are left out
      const std::uint64_t* words = a.plan->bits().data() + tile.bits - tile.begin;
      const std::int64_t all = begin;
      while (begin < end && !words[begin]) ++begin;
      while (end > begin && !words[end - 1]) --end;
      if (a.dropout.threshold) begin = std::max(all, begin / 8 * 8);
      if (begin >= end) continue;
      bits = words + begin;
    }
    body(Tile{begin, end, true, bits, tile.live});
  }
}

// Keys [begin, end) of a tile that the vectors [first, last) of the block may see, and the others may not:
// along the diagonal of a causal mask the products go in such steps, and so skip what nobody sees.
struct Run {
  std::int64_t begin, end;
  int first, last;
  std::int64_t keys() const { return end - begin; }
  int vectors() const { return last - first; }
};

// Calls body(run) for the runs of a tile in order.
template <class Body>
void for_runs(const SequenceDesc& s, const QueryBlock& block, const Tile& tile, const Body& body) {
  if (tile.planned) {
    return body(Run{tile.begin, tile.end, std::countr_zero(tile.live) / static_cast<int>(kLanes),
                    (63 - std::countl_zero(tile.live)) / static_cast<int>(kLanes) + 1});
  }
  const auto run_at = [&](std::int64_t j) {
    // Lane i of the block sees key j when j - high <= begin + i <= j - low.
    const auto bound = [&](std::int64_t lane) {
      const std::int64_t rounded = std::clamp<std::int64_t>(lane, 0, kQueries) / kRunQueries * kRunQueries;
      return std::min(static_cast<int>(rounded / kLanes), block.vectors);
    };
    Run run{j, j, bound(j - s.high - block.begin), bound(j - s.low - block.begin + kRunQueries)};
    run.last = std::max(run.first, run.last);
    return run;
  };
  // Both bounds rise with the key: equal at the ends, they are equal throughout.
  Run whole = run_at(tile.begin);
  const Run last = run_at(tile.end - 1);
  if (whole.first == last.first && whole.last == last.last) {
    whole.end = tile.end;
    if (whole.vectors() > 0) body(whole);
    return;
  }
  for (std::int64_t j = tile.begin; j < tile.end;) {
    Run run = run_at(j);
    for (; j < tile.end; ++j) {
      const Run next = run_at(j);
      if (next.first != run.first || next.last != run.last) break;
    }
    run.end = j;
    if (run.vectors() > 0) body(run);
  }
}

// The same pairs cut the other way, for products that sum over keys: calls body(run) with all the keys that
// vectors next to each other see alike, so that every sum is taken up once.
template <class Body>
void for_columns(const SequenceDesc& s, const QueryBlock& block, const Tile& tile, const Body& body) {
  if (tile.planned) return for_runs(s, block, tile, body);
  constexpr int kRunVectors = static_cast<int>(kRunQueries / kLanes);
  for (int first = 0; first < block.vectors;) {
    const KeyRange keys = vector_keys(s, block, first, tile);
    int last = first + kRunVectors;
    for (; last < block.vectors; last += kRunVectors) {
      const KeyRange next = vector_keys(s, block, last, tile);
      if (next.begin != keys.begin || next.end != keys.end) break;
    }
    if (keys.begin < keys.end) body(Run{keys.begin, keys.end, first, std::min(last, block.vectors)});
    first = last;
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
