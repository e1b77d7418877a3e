#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <headway/attention/mask.h>
#include <headway/core/export.h>

namespace headway::inline v1 {

/// What a mask is compiled for: lengths of each sequence, and heads.
struct HEADWAY_API PlanShape {
  struct Lengths {
    std::int64_t queries = 0, keys = 0;
    bool operator==(const Lengths&) const = default;
  };
  std::vector<Lengths> sequences;
  std::int64_t heads = 1;
  /// What tensors in the mask broadcast to, where that is more than the longest sequence (a padded cache).
  std::int64_t longest_queries = 0, longest_keys = 0;
  /// A padded batch: B sequences of T queries and S keys.
  static PlanShape padded(std::int64_t batch, std::int64_t heads, std::int64_t queries, std::int64_t keys);
  /// [B, H, T, S] of the longest.
  Shape pairs() const;
  bool operator==(const PlanShape&) const = default;
};

/// A mask, compiled: for each block of queries, the tiles of keys that are seen whole, and those seen in part
/// with a bit for each pair. What is not listed is never touched. As large as its live tiles; a value that is
/// cheap to copy. Made once by whoever holds the mask, used by any number of calls of that shape.
///
/// Patterns by residue (strided, dilated) see one key in `step`, a tile's worth of which lies far apart.
/// Their far pairs are gathered: positions that are equal modulo the step form a class, whose queries and
/// keys are blocked and tiled by their number within it. Every pair is then in tiles(…) or in those of one
/// class.
class HEADWAY_API TilePlan {
 public:
  static constexpr std::int64_t kQueries = 64;  ///< of a block: a bit each in a word
  static constexpr std::int64_t kKeys = 32;     ///< tiles begin at multiples of this
  static constexpr std::int64_t kLongest = 96;  ///< keys in one tile at most: what the kernels take at a time

  struct Tile {
    std::int64_t begin = 0, end = 0;  ///< keys; of a class, their numbers within it
    std::int64_t bits = -1;           ///< index in bits() of key `begin`'s word, or -1: all pairs are seen
    std::uint64_t live = 0;           ///< queries of the block that see some key of the tile
  };

  TilePlan() = default;
  /// Error(shape) naming attention where the mask's tensors or lengths do not fit.
  TilePlan(const Mask& mask, PlanShape shape);

  bool defined() const { return data_ != nullptr; }
  const Mask& mask() const { return data_->mask; }
  const PlanShape& shape() const { return data_->shape; }

  /// The tiles of queries [64·block, 64·block + 64) of a sequence and head, by rising keys.
  std::span<const Tile> tiles(std::int64_t sequence, std::int64_t head, std::int64_t block) const {
    return row(first_row(sequence, head) + static_cast<std::size_t>(block));
  }

  /// Every step-th query and key of a sequence.
  struct ResidueClass {
    std::int64_t first_query = 0, queries = 0, first_key = 0, keys = 0;
  };
  /// How many classes there are: 1 means none, everything is in tiles() above.
  std::int64_t step() const { return data_->step; }
  /// False when classes hold all that is seen.
  bool has_whole_tiles() const { return data_->whole_tiles; }
  ResidueClass residue_class(std::int64_t sequence, std::int64_t residue) const;
  /// The tiles of one class's queries, by their numbers within it.
  std::span<const Tile> class_tiles(std::int64_t sequence, std::int64_t head, std::int64_t residue,
                                    std::int64_t block) const;

  /// Word of a key: bit i is query 64·block + i.
  std::span<const std::uint64_t> bits() const { return data_->bits; }

  /// The least and the greatest j - p that is seen; least > most where nothing is.
  struct Offsets {
    std::int64_t least = std::int64_t{1} << 60, most = -(std::int64_t{1} << 60);
    void add(std::int64_t first, std::int64_t last) {
      least = first < least ? first : least;
      most = last > most ? last : most;
    }
  };
  Offsets visible_offsets() const;
  /// Pairs that are seen, over all sequences and heads.
  double visible_pairs() const { return data_->visible_pairs; }
  std::int64_t bytes() const;

 private:
  struct Data {
    Mask mask;
    PlanShape shape;
    std::int64_t step = 1;
    Align align = Align::bottom_right;  // where the residue of a query's position is taken
    bool whole_tiles = true;
    std::int64_t head_tables = 1;        // H where heads differ
    std::vector<std::size_t> first_row;  // of each sequence and head table; equal ones share theirs
    // First tile of each block of queries: of the whole sequence, then of each class, which all have as many.
    std::vector<std::size_t> rows;
    std::vector<Tile> tiles;
    std::vector<std::uint64_t> bits;
    double visible_pairs = 0;
  };
  std::size_t first_row(std::int64_t sequence, std::int64_t head) const {
    const std::int64_t table = sequence * data_->head_tables + (data_->head_tables > 1 ? head : 0);
    return data_->first_row[static_cast<std::size_t>(table)];
  }
  std::span<const Tile> row(std::size_t number) const {
    return {data_->tiles.data() + data_->rows[number], data_->rows[number + 1] - data_->rows[number]};
  }
  std::shared_ptr<const Data> data_;
};

}  // namespace headway::inline v1
