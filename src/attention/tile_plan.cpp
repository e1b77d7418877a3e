#include <headway/attention/tile_plan.h>

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>

#include <headway/core/parallel.h>

#include "attention/mask_node.h"

namespace headway::inline v1 {
namespace {

// One block of queries, being compiled: its tiles in order, with bits of their own.
class RowCompiler {
 public:
  RowCompiler(const MaskNode& node, const PairPosition& first, std::int64_t query_end)
      : node_(node), first_(first), query_end_(query_end) {}

  // Boxes of keys are halved until they are seen whole, not at all, or are a single tile.
  void add(std::int64_t begin, std::int64_t end) {
    PairBox box{first_, query_end_, end};
    box.corner.key = begin;
    switch (node_.seen(box)) {
      case Seen::none:
        return;
      case Seen::all:
        return add_full(begin, end);
      case Seen::some:
        break;
    }
    if (end - begin <= TilePlan::kKeys) return add_partial(box);
    const std::int64_t units = (end - begin + TilePlan::kKeys - 1) / TilePlan::kKeys;
    const std::int64_t middle = begin + (units + 1) / 2 * TilePlan::kKeys;
    add(begin, middle);
    add(middle, end);
  }

  std::vector<TilePlan::Tile> tiles;
  std::vector<std::uint64_t> bits;
  double visible_pairs = 0;

 private:
  std::uint64_t whole() const {
    const std::int64_t count = query_end_ - first_.query;
    return count == TilePlan::kQueries ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
  }

  void add_full(std::int64_t begin, std::int64_t end) {
    visible_pairs += static_cast<double>((query_end_ - first_.query) * (end - begin));
    while (begin < end) {
      TilePlan::Tile* last = tiles.empty() ? nullptr : &tiles.back();
      const bool grows = last && last->end == begin && last->bits < 0 && length(*last) < TilePlan::kLongest;
      if (!grows) tiles.push_back({begin, begin, -1, whole()});
      TilePlan::Tile& tile = tiles.back();
      tile.end = std::min(end, tile.begin + TilePlan::kLongest);
      begin = tile.end;
    }
  }

  void add_partial(const PairBox& box) {
    std::uint64_t words[TilePlan::kKeys];
    node_.bits(box, words);
    const std::int64_t keys = box.key_end - box.corner.key;
    std::uint64_t any = 0, every = whole();
    for (std::int64_t j = 0; j < keys; ++j) {
      any |= words[j];
      every &= words[j];
    }
    if (any == 0) return;
    if (every == whole()) return add_full(box.corner.key, box.key_end);
    for (std::int64_t j = 0; j < keys; ++j) visible_pairs += std::popcount(words[j]);
    TilePlan::Tile* last = tiles.empty() ? nullptr : &tiles.back();
    const bool grows =
        last && last->end == box.corner.key && last->bits >= 0 && length(*last) + keys <= TilePlan::kLongest;
    if (!grows) {
      tiles.push_back({box.corner.key, box.corner.key, static_cast<std::int64_t>(bits.size()), 0});
    }
    tiles.back().end = box.key_end;
    tiles.back().live |= any;
    bits.insert(bits.end(), words, words + keys);
  }

  static std::int64_t length(const TilePlan::Tile& tile) { return tile.end - tile.begin; }

  const MaskNode& node_;
  PairPosition first_;
  std::int64_t query_end_;
};

std::int64_t blocks_of(std::int64_t queries) {
  return (queries + TilePlan::kQueries - 1) / TilePlan::kQueries;
}

}  // namespace

PlanShape PlanShape::padded(std::int64_t batch, std::int64_t heads, std::int64_t queries, std::int64_t keys) {
  PlanShape shape;
  shape.sequences.assign(static_cast<std::size_t>(batch), {queries, keys});
  shape.heads = heads;
  return shape;
}

Shape PlanShape::pairs() const {
  std::int64_t queries = longest_queries, keys = longest_keys;
  for (const Lengths& sequence : sequences) {
    queries = std::max(queries, sequence.queries);
    keys = std::max(keys, sequence.keys);
  }
  return {static_cast<std::int64_t>(sequences.size()), heads, queries, keys};
}

TilePlan::TilePlan(const Mask& mask, PlanShape shape) {
  mask.check(shape);
  auto data = std::make_shared<Data>();
  data->mask = mask;
  data->shape = std::move(shape);
  const NodePointer everything = interval_node(Mask::unbounded, Mask::unbounded, Align::top_left);
  const MaskNode& node = mask.node() ? *mask.node() : *everything;
  data->head_tables = node.by_head() ? data->shape.heads : 1;

  // The blocks to compile; sequences that the mask cannot tell apart share theirs.
  struct Row {
    PairPosition first;
    double times;  // how many sequences and heads it stands for
  };
  std::vector<Row> rows;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, std::size_t> known;
  const double heads_each = node.by_head() ? 1 : static_cast<double>(data->shape.heads);
  for (std::size_t b = 0; b < data->shape.sequences.size(); ++b) {
    const auto [queries, keys] = data->shape.sequences[b];
    const std::int64_t blocks = blocks_of(queries);
    for (std::int64_t head = 0; head < data->head_tables; ++head) {
      const auto [entry, fresh] = known.try_emplace({queries, keys, head}, rows.size());
      if (fresh || node.by_sequence()) {
        entry->second = rows.size();
        for (std::int64_t block = 0; block < blocks; ++block) {
          rows.push_back({{static_cast<std::int64_t>(b), head, block * kQueries, 0, queries, keys}, 0.0});
        }
      }
      data->first_row.push_back(entry->second);
      for (std::int64_t block = 0; block < blocks; ++block)
        rows[entry->second + static_cast<std::size_t>(block)].times += heads_each;
    }
  }

  std::vector<RowCompiler> compiled;
  compiled.reserve(rows.size());
  for (const Row& row : rows)
    compiled.emplace_back(node, row.first, std::min(row.first.query + kQueries, row.first.queries));
  core::parallel_for(static_cast<std::int64_t>(rows.size()), [&](std::int64_t i) {
    const PairPosition& first = rows[static_cast<std::size_t>(i)].first;
    if (first.keys > 0) compiled[static_cast<std::size_t>(i)].add(0, first.keys);
  });
  for (std::size_t i = 0; i < rows.size(); ++i) {
    data->rows.push_back(data->tiles.size());
    for (Tile tile : compiled[i].tiles) {
      if (tile.bits >= 0) tile.bits += static_cast<std::int64_t>(data->bits.size());
      data->tiles.push_back(tile);
    }
    data->bits.insert(data->bits.end(), compiled[i].bits.begin(), compiled[i].bits.end());
    data->visible_pairs += compiled[i].visible_pairs * rows[i].times;
  }
  data->rows.push_back(data->tiles.size());
  data_ = std::move(data);
}

std::int64_t TilePlan::bytes() const {
  return static_cast<std::int64_t>(data_->tiles.size() * sizeof(Tile) +
                                   (data_->bits.size() + data_->rows.size() + data_->first_row.size()) * 8);
}

}  // namespace headway::inline v1
