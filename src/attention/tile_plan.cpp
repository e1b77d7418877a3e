#include <headway/attention/tile_plan.h>

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>

#include <headway/core/parallel.h>

#include "attention/mask_node.h"

namespace headway::inline v1 {
namespace {

// Which queries and keys a row of a plan numbers: all of a sequence's, or those of one class.
struct Numbering {
  std::int64_t step = 1, first_query = 0, queries = 0, first_key = 0, keys = 0;
};

Numbering numbering(const TilePlan::ResidueClass& of, std::int64_t step) {
  return {step, of.first_query, of.queries, of.first_key, of.keys};
}

// One block of queries, being compiled: its tiles in order, with bits of their own.
class RowCompiler {
 public:
  // `sequence` tells all but where its box is. `part` is of no account while residues.step is 1.
  RowCompiler(const MaskNode& node, const PairPosition& sequence, const Numbering& numbers,
              std::int64_t block, const Residues& residues, PairBox::Part part)
      : node_(node),
        sequence_(sequence),
        numbers_(numbers),
        begin_(block * TilePlan::kQueries),
        end_(std::min(begin_ + TilePlan::kQueries, numbers.queries)),
        residues_(residues),
        part_(residues.step > 1 ? part : PairBox::Part::all) {}

  bool gathers() const { return part_ == PairBox::Part::gathered; }
  void compile() {
    if (begin_ < end_ && numbers_.keys > 0) add(0, numbers_.keys);
  }

  std::vector<TilePlan::Tile> tiles;
  std::vector<std::uint64_t> bits;
  double visible_pairs = 0;

 private:
  // Boxes of keys are halved until they are seen whole, not at all, or are a single tile.
  void add(std::int64_t begin, std::int64_t end) {
    const PairBox box = box_of(begin, end);
    switch (seen(box)) {
      case Seen::none:
        return;
      case Seen::all:
        return add_full(begin, end);
      case Seen::some:
        break;
    }
    if (end - begin <= TilePlan::kKeys) return add_partial(begin, end);
    const std::int64_t units = (end - begin + TilePlan::kKeys - 1) / TilePlan::kKeys;
    const std::int64_t middle = begin + (units + 1) / 2 * TilePlan::kKeys;
    add(begin, middle);
    add(middle, end);
  }

  // From the first to the last of these queries and keys.
  PairBox box_of(std::int64_t begin, std::int64_t end) const {
    const auto& n = numbers_;
    PairBox box{sequence_, n.first_query + (end_ - 1) * n.step + 1, n.first_key + (end - 1) * n.step + 1,
                part_, residues_};
    box.corner.query = n.first_query + begin_ * n.step;
    box.corner.key = n.first_key + begin * n.step;
    return box;
  }

  Seen seen(const PairBox& box) const {
    const Seen answer = node_.seen(box);
    if (answer != Seen::all || part_ == PairBox::Part::all) return answer;
    // It was asked about this part alone: of the box's other pairs, somebody else knows.
    const Distances d(box, residues_.align);
    const bool others = part_ == PairBox::Part::rest ? residues_.holds_any(d.least, d.most)
                                                     : d.least <= residues_.near && d.most >= -residues_.near;
    return others ? Seen::some : answer;
  }

  void fill_bits(const PairBox& box, std::int64_t begin, std::int64_t end, std::uint64_t* words) const {
    const auto distance = [&](const PairPosition& at) { return position_of(at, residues_.align) - at.key; };
    PairPosition at = box.corner;
    if (part_ == PairBox::Part::gathered) {
      for (std::int64_t n = begin; n < end; ++n, at.key += numbers_.step) {
        std::uint64_t word = 0;
        at.query = box.corner.query;
        for (std::int64_t i = 0; i < end_ - begin_; ++i, at.query += numbers_.step) {
          const bool live = residues_.holds(distance(at)) && node_.visible(at);
          word |= static_cast<std::uint64_t>(live) << i;
        }
        *words++ = word;
      }
      return;
    }
    node_.bits(box, words);
    if (part_ == PairBox::Part::all) return;
    for (; at.key < box.key_end; ++at.key, ++words) {
      const std::int64_t first = distance(at), step = residues_.step;
      for (std::int64_t i = (step - (first % step + step) % step) % step; i < end_ - begin_; i += step) {
        if (residues_.holds(first + i)) *words &= ~(std::uint64_t{1} << i);
      }
    }
  }

  std::uint64_t whole() const {
    const std::int64_t count = end_ - begin_;
    return count == TilePlan::kQueries ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
  }

  void add_full(std::int64_t begin, std::int64_t end) {
    visible_pairs += static_cast<double>((end_ - begin_) * (end - begin));
    while (begin < end) {
      TilePlan::Tile* last = tiles.empty() ? nullptr : &tiles.back();
      const bool grows = last && last->end == begin && last->bits < 0 && length(*last) < TilePlan::kLongest;
      if (!grows) tiles.push_back({begin, begin, -1, whole()});
      TilePlan::Tile& tile = tiles.back();
      tile.end = std::min(end, tile.begin + TilePlan::kLongest);
      begin = tile.end;
    }
  }

  void add_partial(std::int64_t begin, std::int64_t end) {
    std::uint64_t words[TilePlan::kKeys];
    fill_bits(box_of(begin, end), begin, end, words);
    const std::int64_t keys = end - begin;
    std::uint64_t any = 0, every = whole();
    for (std::int64_t j = 0; j < keys; ++j) {
      any |= words[j];
      every &= words[j];
    }
    if (any == 0) return;
    if (every == whole()) return add_full(begin, end);
    for (std::int64_t j = 0; j < keys; ++j) visible_pairs += std::popcount(words[j]);
    TilePlan::Tile* last = tiles.empty() ? nullptr : &tiles.back();
    const bool grows =
        last && last->end == begin && last->bits >= 0 && length(*last) + keys <= TilePlan::kLongest;
    if (!grows) tiles.push_back({begin, begin, static_cast<std::int64_t>(bits.size()), 0});
    tiles.back().end = end;
    tiles.back().live |= any;
    bits.insert(bits.end(), words, words + keys);
  }

  static std::int64_t length(const TilePlan::Tile& tile) { return tile.end - tile.begin; }

  const MaskNode& node_;
  PairPosition sequence_;
  Numbering numbers_;
  std::int64_t begin_, end_;  // queries
  Residues residues_;
  PairBox::Part part_;
};

std::int64_t blocks_of(std::int64_t queries) {
  return (queries + TilePlan::kQueries - 1) / TilePlan::kQueries;
}
// Of the largest class: the others count as many.
std::int64_t class_blocks(std::int64_t queries, std::int64_t step) {
  return blocks_of((queries + step - 1) / step);
}
std::int64_t rows_of(std::int64_t queries, std::int64_t step) {
  return blocks_of(queries) + (step > 1 ? step * class_blocks(queries, step) : 0);
}

// A class of a few queries fills no vector; whole tiles are cheaper then.
Residues worth_gathering(const Residues& residues, const PlanShape& shape) {
  constexpr std::int64_t kQueriesWorth = 16;
  std::int64_t queries = 0;
  for (const PlanShape::Lengths& sequence : shape.sequences) queries = std::max(queries, sequence.queries);
  return queries / kQueriesWorth >= residues.step ? residues : Residues{};
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

  const Residues residues = worth_gathering(node.residues(), data->shape);
  data->step = residues.step;
  data->align = residues.align;
  data_ = data;  // residue_class() asks it

  // The blocks to compile; sequences that the mask cannot tell apart share theirs.
  std::vector<RowCompiler> rows;
  std::vector<double> times;  // how many sequences and heads a row stands for
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, std::size_t> known;
  const double heads_each = node.by_head() ? 1 : static_cast<double>(data->shape.heads);
  for (std::size_t b = 0; b < data->shape.sequences.size(); ++b) {
    const auto [queries, keys] = data->shape.sequences[b];
    const auto sequence = static_cast<std::int64_t>(b);
    for (std::int64_t head = 0; head < data->head_tables; ++head) {
      const auto [entry, fresh] = known.try_emplace({queries, keys, head}, rows.size());
      if (fresh || node.by_sequence()) {
        entry->second = rows.size();
        const PairPosition first{sequence, head, 0, 0, queries, keys};
        for (std::int64_t block = 0; block < blocks_of(queries); ++block)
          rows.emplace_back(node, first, Numbering{1, 0, queries, 0, keys}, block, residues,
                            PairBox::Part::rest);
        for (std::int64_t residue = 0; residues.step > 1 && residue < residues.step; ++residue) {
          const Numbering numbers = numbering(residue_class(sequence, residue), residues.step);
          for (std::int64_t block = 0; block < class_blocks(queries, residues.step); ++block)
            rows.emplace_back(node, first, numbers, block, residues, PairBox::Part::gathered);
        }
        times.resize(rows.size());
      }
      data->first_row.push_back(entry->second);
      const auto count = static_cast<std::size_t>(rows_of(queries, residues.step));
      for (std::size_t i = 0; i < count; ++i) times[entry->second + i] += heads_each;
    }
  }

  core::parallel_for(static_cast<std::int64_t>(rows.size()),
                     [&](std::int64_t i) { rows[static_cast<std::size_t>(i)].compile(); });
  data->whole_tiles = residues.step == 1;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    data->rows.push_back(data->tiles.size());
    for (Tile tile : rows[i].tiles) {
      if (tile.bits >= 0) tile.bits += static_cast<std::int64_t>(data->bits.size());
      data->tiles.push_back(tile);
    }
    data->bits.insert(data->bits.end(), rows[i].bits.begin(), rows[i].bits.end());
    data->visible_pairs += rows[i].visible_pairs * times[i];
    data->whole_tiles |= !rows[i].gathers() && !rows[i].tiles.empty();
  }
  data->rows.push_back(data->tiles.size());
}

TilePlan::ResidueClass TilePlan::residue_class(std::int64_t sequence, std::int64_t residue) const {
  const auto [queries, keys] = data_->shape.sequences[static_cast<std::size_t>(sequence)];
  const std::int64_t step = data_->step;
  const auto count = [&](std::int64_t first, std::int64_t length) {
    return std::max<std::int64_t>((length - first + step - 1) / step, 0);
  };
  const std::int64_t position = position_of({0, 0, 0, 0, queries, keys}, data_->align);  // of query 0
  const std::int64_t first = ((residue - position) % step + step) % step;
  return {first, count(first, queries), residue, count(residue, keys)};
}

std::span<const TilePlan::Tile> TilePlan::class_tiles(std::int64_t sequence, std::int64_t head,
                                                      std::int64_t residue, std::int64_t block) const {
  const std::int64_t queries = data_->shape.sequences[static_cast<std::size_t>(sequence)].queries;
  const std::int64_t at = blocks_of(queries) + residue * class_blocks(queries, data_->step) + block;
  return row(first_row(sequence, head) + static_cast<std::size_t>(at));
}

TilePlan::Offsets TilePlan::visible_offsets() const {
  Offsets out;
  const auto add = [&](std::span<const Tile> tiles, const Numbering& n, std::int64_t block,
                       std::int64_t position) {
    const std::int64_t begin = block * kQueries, end = std::min(begin + kQueries, n.queries);
    const auto offset = [&](std::int64_t i, std::int64_t j) {
      return n.first_key + j * n.step - (n.first_query + i * n.step + position);
    };
    for (const Tile& tile : tiles) {
      if (tile.bits < 0) out.add(offset(end - 1, tile.begin), offset(begin, tile.end - 1));
      for (std::int64_t j = tile.begin; tile.bits >= 0 && j < tile.end; ++j) {
        const std::uint64_t word = bits()[static_cast<std::size_t>(tile.bits + j - tile.begin)];
        if (word)
          out.add(offset(begin + 63 - std::countl_zero(word), j), offset(begin + std::countr_zero(word), j));
      }
    }
  };
  for (std::size_t b = 0; b < data_->shape.sequences.size(); ++b) {
    const auto [queries, keys] = data_->shape.sequences[b];
    const auto sequence = static_cast<std::int64_t>(b);
    for (std::int64_t head = 0; head < data_->head_tables; ++head) {
      for (std::int64_t block = 0; block < blocks_of(queries); ++block)
        add(tiles(sequence, head, block), {1, 0, queries, 0, keys}, block, keys - queries);
      for (std::int64_t r = 0; step() > 1 && r < step(); ++r) {
        const Numbering numbers = numbering(residue_class(sequence, r), step());
        for (std::int64_t block = 0; block < blocks_of(numbers.queries); ++block)
          add(class_tiles(sequence, head, r, block), numbers, block, keys - queries);
      }
    }
  }
  return out;
}

std::int64_t TilePlan::bytes() const {
  return static_cast<std::int64_t>(data_->tiles.size() * sizeof(Tile) +
                                   (data_->bits.size() + data_->rows.size() + data_->first_row.size()) * 8);
}

}  // namespace headway::inline v1
