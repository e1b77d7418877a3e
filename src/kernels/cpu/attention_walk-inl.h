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
#include <span>

#include <headway/kernels/attention.h>

#include "kernels/cpu/attention_panel-inl.h"
#include "kernels/cpu/attention_ranges.h"
#include "kernels/cpu/attention_units.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Of one block: K and V are read once for so many, and a block of Q, transposed, is 16 KiB at D = 64.
constexpr std::int64_t kQueries = TilePlan::kQueries;
static_assert(kQueries % kLanes == 0);
// Runs are cut at so many queries, whole vectors and wide enough for full register tiles; those of a plan
// also at so many keys, which is what one draw of dropout covers.
constexpr std::int64_t kRunQueries = kLanes > 16 ? kLanes : 16;
constexpr std::int64_t kRunKeys = 8;
constexpr int kGroups = static_cast<int>(kQueries / kRunQueries);
constexpr int kGroupVectors = static_cast<int>(kRunQueries / kLanes);
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

// How often, about, a block of queries against these keys asks for rows that come next: between the register
// tiles of `products`, and for each vector's exponentials.
inline std::int64_t fetches(const SequenceDesc& s, const QueryBlock& block, const KeyRange& keys,
                            int products = 1) {
  const KeyRange seen = visible_keys(s, block);
  const std::int64_t both = std::min(seen.end, keys.end) - std::max(seen.begin, keys.begin);
  return both <= 0 ? 0 : (products * both + block.count) / kRowsAtOnce + block.vectors;
}

// Keys [begin, end) of a tile that the vectors [first, last) of the block may see, and the others may not:
// along the diagonal of a causal mask the products go in such steps, and so skip what nobody sees.
struct Run {
  std::int64_t begin, end;
  int first, last;
  std::int64_t keys() const { return end - begin; }
  int vectors() const { return last - first; }
};

// Keys [begin, end) that a block of queries meets in one step. Score tiles hold key j in row j - begin.
struct Tile {
  std::int64_t begin, end;
  const std::uint64_t* bits = nullptr;  // the word of key `begin`, or null where a plan hides nothing
  int run_count = 0;
  Run runs[kKeys / kRunKeys];  // of rising keys
  KeyRange seen[kGroups];      // from the first to the last key that the runs give a group of queries
  std::int64_t keys() const { return end - begin; }
  KeyRange vector_keys(int vector) const { return seen[vector / kGroupVectors]; }
  void add(const Run& run) {
    Run* last = run_count > 0 ? &runs[run_count - 1] : nullptr;
    if (last && last->end == run.begin && last->first == run.first && last->last == run.last) {
      last->end = run.end;
    } else {
      runs[run_count++] = run;
    }
    for (int group = run.first / kGroupVectors; group * kGroupVectors < run.last; ++group) {
      KeyRange& keys = seen[group];
      keys = {keys.begin < keys.end ? keys.begin : run.begin, run.end};
    }
  }
  static Tile of(std::int64_t first, std::int64_t last) {
    Tile tile;
    tile.begin = first;
    tile.end = last;
    for (KeyRange& keys : tile.seen) keys = {first, first};
    return tile;
  }
};

// A tile by the bounds of its sequence.
inline Tile bounded_tile(const SequenceDesc& s, const QueryBlock& block, std::int64_t begin,
                         std::int64_t end) {
  Tile tile = Tile::of(begin, end);
  // Lane i of the block sees key j when j - high <= begin + i <= j - low. Both bounds rise with the key; in
  // whole groups of lanes they change where a bound reaches the next group.
  const auto group = [&](std::int64_t lane) {
    const std::int64_t rounded = std::clamp<std::int64_t>(lane, 0, kQueries) / kRunQueries * kRunQueries;
    return std::min(static_cast<int>(rounded / kLanes), block.vectors);
  };
  const auto to_next = [](std::int64_t lane) {
    if (lane >= kQueries) return Mask::unbounded;
    return (std::max<std::int64_t>(lane, 0) / kRunQueries + 1) * kRunQueries - lane;
  };
  for (std::int64_t j = begin; j < end;) {
    const std::int64_t from = j - s.high - block.begin, to = j - s.low - block.begin + kRunQueries;
    const std::int64_t next = std::min(j + std::min(to_next(from), to_next(to)), end);
    const Run run{j, next, group(from), group(to)};
    if (run.vectors() > 0) tile.add(run);
    j = next;
  }
  return tile;
}

// A tile of a plan; `words` is key 0's, or null.
inline Tile planned_tile(const QueryBlock& block, std::int64_t begin, std::int64_t end,
                         const std::uint64_t* words) {
  Tile tile = Tile::of(begin, end);
  if (!words) {
    tile.add({begin, end, 0, block.vectors});
    return tile;
  }
  tile.bits = words + begin;
  for (std::int64_t j = begin; j < end; j += kRunKeys) {
    const std::int64_t last = std::min(j + kRunKeys, end);
    std::uint64_t live = 0;
    for (std::int64_t key = j; key < last; ++key) live |= words[key];
    if (!live) continue;
    const int first_group = std::countr_zero(live) / static_cast<int>(kRunQueries);
    const int last_group = (63 - std::countl_zero(live)) / static_cast<int>(kRunQueries) + 1;
    tile.add({j, last, first_group * kGroupVectors, std::min(last_group * kGroupVectors, block.vectors)});
  }
  return tile;
}

// A plan's list for one block of queries.
inline std::span<const TilePlan::Tile> planned_tiles(const AttentionArgs& a, const SequenceDesc& s,
                                                     std::int64_t h, const QueryBlock& block) {
  const std::int64_t number = block.begin / kQueries;
  return s.step > 1 ? a.plan->class_tiles(s.index, h, s.first_key, number)
                    : a.plan->tiles(s.index, h, number);
}

// Those of them that have some of `keys`.
inline std::span<const TilePlan::Tile> tiles_within(std::span<const TilePlan::Tile> tiles,
                                                    const KeyRange& keys) {
  const auto first = std::partition_point(tiles.begin(), tiles.end(),
                                          [&](const TilePlan::Tile& tile) { return tile.end <= keys.begin; });
  const auto last = std::partition_point(first, tiles.end(),
                                         [&](const TilePlan::Tile& tile) { return tile.begin < keys.end; });
  return {first, last};
}

// Calls body(tile) with what one of them has of `keys`, if anything.
template <class Body>
void visit_planned(const AttentionArgs& a, const QueryBlock& block, const TilePlan::Tile& tile,
                   const KeyRange& keys, const Body& body) {
  static_assert(TilePlan::kLongest <= kKeys && TilePlan::kKeys % kRunKeys == 0);
  std::int64_t begin = std::max(tile.begin, keys.begin), end = std::min(tile.end, keys.end);
  if (begin >= end) return;
  const std::uint64_t* words = nullptr;
  if (tile.bits >= 0) {  // keys at both ends that nobody sees are left out
    words = a.plan->bits().data() + tile.bits - tile.begin;
    const std::int64_t all = begin;
    while (begin < end && !words[begin]) ++begin;
    while (end > begin && !words[end - 1]) --end;
    if (a.dropout.threshold) begin = std::max(all, begin / kRunKeys * kRunKeys);
    if (begin >= end) return;
  }
  body(planned_tile(block, begin, end, words));
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
    if (a.dropout.threshold) begin = begin / kRunKeys * kRunKeys;  // its draws cover as many at a time
    const std::int64_t end = std::min(seen.end, keys.end);
    for (std::int64_t tile = tile_begin(begin); tile < end; tile += kKeys)
      body(bounded_tile(s, block, std::max(tile, begin), std::min(tile + kKeys, end)));
    return;
  }
  for (const TilePlan::Tile& tile : tiles_within(planned_tiles(a, s, h, block), keys))
    visit_planned(a, block, tile, keys, body);
}

// Calls body(run) for the runs of a tile in order.
template <class Body>
void for_runs(const Tile& tile, const Body& body) {
  for (int r = 0; r < tile.run_count; ++r) body(tile.runs[r]);
}

// The same pairs cut the other way, for products that sum over keys: calls body(run) with all the keys that
// groups next to each other see alike, so that every sum is taken up once.
template <class Body>
void for_columns(const QueryBlock& block, const Tile& tile, const Body& body) {
  for (int first = 0; first * kGroupVectors < block.vectors;) {
    const KeyRange keys = tile.seen[first];
    int last = first + 1;
    while (last * kGroupVectors < block.vectors && tile.seen[last].begin == keys.begin &&
           tile.seen[last].end == keys.end)
      ++last;
    if (keys.begin < keys.end)
      body(Run{keys.begin, keys.end, first * kGroupVectors, std::min(last * kGroupVectors, block.vectors)});
    first = last;
  }
}

// Calls body(sequence) for a sequence, and for the classes that a plan makes of it.
template <class Body>
void for_classes(const AttentionArgs& a, const SequenceDesc& s, const Body& body) {
  if (has_whole_tiles(a)) body(s);
  for (std::int64_t residue = 0; has_classes(a) && residue < a.plan->step(); ++residue)
    body(residue_class(a, s, residue));
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
