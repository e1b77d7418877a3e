#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <headway/attention/mask.h>
#include <headway/attention/tile_plan.h>
#include <headway/core/shape.h>

namespace headway::inline v1 {

enum class Seen { none, some, all };

/// Pairs that a plan gathers: their distance p - j is a multiple of step, and larger than `near` either way.
struct Residues {
  std::int64_t step = 1, near = -1;
  Align align = Align::bottom_right;
  bool holds(std::int64_t distance) const {
    return distance % step == 0 && (distance > near || distance < -near);
  }
  /// True when one of the distances least … most is held.
  bool holds_any(std::int64_t least, std::int64_t most) const;
};

/// Queries [query_begin, query_end) and keys [key_begin, key_end) of one head of one sequence.
struct PairBox {
  PairPosition corner;  ///< its first pair
  std::int64_t query_end = 0, key_end = 0;
  /// What a box is asked about may be a part of its pairs: those that `residues` holds, or the others.
  enum class Part { all, gathered, rest } part = Part::all;
  Residues residues = {};
};

/// A part of a mask: what it says of a pair, and, so that most of them need not be asked, of a whole box.
class MaskNode {
 public:
  virtual ~MaskNode() = default;
  virtual bool visible(const PairPosition& at) const = 0;
  /// `some` when it is not known more cheaply than pair by pair.
  virtual Seen seen(const PairBox& box) const = 0;
  /// words[j - key_begin] gets bit i - query_begin for every visible pair, 0 elsewhere. At most 64 queries.
  virtual void bits(const PairBox& box, std::uint64_t* words) const;
  virtual std::string str() const = 0;
  /// How tightly str() binds: | 0, & 1, everything else 2.
  virtual int precedence() const { return 2; }
  /// True when the answer depends on the sequence's index (not only on its lengths), or on the head.
  virtual bool by_sequence() const { return false; }
  virtual bool by_head() const { return false; }
  /// Error(shape or value) where a tensor or list does not fit.
  virtual void check(const PlanShape& /*shape*/) const {}
  /// Adds to `bounds`; false when intervals and lengths cannot say it.
  virtual bool add_bounds(Mask::Bounds& /*bounds*/) const { return false; }
  /// True when some tensor in it has no values (meta).
  virtual bool hollow() const { return false; }
  /// Pairs that are worth gathering, by the first pattern in it that is one by residue; step 1: none.
  virtual Residues residues() const { return {}; }
};

using NodePointer = std::shared_ptr<const MaskNode>;

/// The position of a query: see Align.
inline std::int64_t position_of(const PairPosition& at, Align align = Align::bottom_right) {
  return at.query + (align == Align::bottom_right ? at.keys - at.queries : 0);
}

/// p - j over a box, smallest and largest.
struct Distances {
  std::int64_t least, most;
  Distances(const PairBox& box, Align align)
      : least(position_of(box.corner, align) - (box.key_end - 1)),
        most(position_of(box.corner, align) + (box.query_end - box.corner.query - 1) - box.corner.key) {}
};
inline std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

NodePointer interval_node(std::int64_t left, std::int64_t right, Align align);
NodePointer padding_node(std::vector<std::int64_t> lengths);
NodePointer documents_node(std::vector<std::int64_t> offsets);
NodePointer tensor_node(const Tensor& tensor, bool allow);
/// (p - j) divisible by step. Pairs within `near` are for other parts of the mask to see.
NodePointer multiples_node(std::int64_t step, Align align, std::int64_t near = -1);
/// ⌊p / size⌋ - left <= ⌊j / size⌋ <= ⌊p / size⌋ + right.
NodePointer block_window_node(std::int64_t size, std::int64_t left, std::int64_t right);
/// j among the last `count` of its block of `size`.
NodePointer block_ends_node(std::int64_t size, std::int64_t count);
NodePointer tokens_node(std::vector<std::int64_t> positions);
NodePointer random_blocks_node(std::int64_t block, std::int64_t count, std::uint64_t seed);
NodePointer block_tensor_node(const Tensor& visible, std::int64_t block);
NodePointer predicate_node(std::function<bool(const PairPosition&)> predicate, std::string name);
NodePointer both_node(NodePointer a, NodePointer b);
NodePointer either_node(NodePointer a, NodePointer b);
NodePointer not_node(NodePointer a);
NodePointer per_head_node(std::vector<NodePointer> heads);  // null: everything
/// The same pairs under a name of its own.
NodePointer named_node(NodePointer inner, std::string name);

}  // namespace headway::inline v1
