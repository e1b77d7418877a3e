#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <headway/attention/pairs.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// Which end of the keys the queries stand at when there are more keys than queries.
enum class Align {
  bottom_right,  ///< the last query sees every key, as a cache needs: query i has position i + S - T
  top_left       ///< query i has position i
};

class MaskNode;
struct PlanShape;

/// Blocks of a BigBird pattern: how many of `block` positions on each side.
struct BigBirdOptions {
  std::int64_t block = 64;
  std::int64_t window = 3;  ///< neighbouring blocks seen, itself among them: odd
  std::int64_t global = 2;  ///< first blocks that see, and are seen by, everything
  std::int64_t random = 3;  ///< blocks drawn for each block of queries
  std::uint64_t seed = 0;
};

/// Who may look at whom, as a value. The name says the polarity: everything here tells what is seen, `deny`
/// and `!` what is not. `a & b` sees what both see, `a | b` what either sees. p is a query's position (see
/// Align), j a key's; both count within their sequence.
class HEADWAY_API Mask {
 public:
  /// Everything is visible.
  Mask() = default;
  /// j <= p.
  static Mask causal(Align align = Align::bottom_right);
  /// p - left <= j <= p + right (Beltagy et al. 2020). Error(value) when either is negative.
  static Mask window(std::int64_t left, std::int64_t right, Align align = Align::bottom_right);
  /// Sequence b has lengths[b] keys; the rest of the row is padding.
  static Mask padding(std::vector<std::int64_t> lengths);
  /// Positions offsets[d] … offsets[d + 1] - 1 form document d and see each other alone. Error(value) unless
  /// offsets rise from 0; positions beyond the last see nothing.
  static Mask documents(std::vector<std::int64_t> offsets);
  /// visible is bool and broadcasts to [B, H, T, S] (from the right, dimensions of 1); true is seen.
  static Mask allow(const Tensor& visible);
  /// hidden is bool and broadcasts to [B, H, T, S]; true is not seen.
  static Mask deny(const Tensor& hidden);

  /// Every step-th key of a window: j = p + m·step for -left <= m <= right (Beltagy et al. 2020, §3.1).
  static Mask dilated(std::int64_t left, std::int64_t right, std::int64_t step,
                      Align align = Align::bottom_right);
  /// j <= p, and p - j <= stride or divisible by it (Child et al. 2019, §4.2, "strided").
  static Mask strided(std::int64_t stride);
  /// j <= p, and j in p's block of `stride` positions, or among the last `summary` of its own block (Child et
  /// al. 2019, §4.2, "fixed").
  static Mask fixed(std::int64_t stride, std::int64_t summary);
  /// Pairs whose query or key stands at one of these positions (Beltagy et al. 2020, "global attention").
  static Mask global(std::vector<std::int64_t> positions);
  /// Of each block of queries, the keys of `count` blocks drawn without replacement (Zaheer et al. 2020).
  static Mask random_blocks(std::int64_t block, std::int64_t count, std::uint64_t seed);
  /// Window, global and random blocks together (Zaheer et al. 2020).
  static Mask big_bird(const BigBirdOptions& options = {});
  /// visible is bool and broadcasts to [B, H, ceil(T / block), ceil(S / block)]: an element for each block.
  static Mask blocks(const Tensor& visible, std::int64_t block);
  /// Whatever the callable says; it may be called from several threads at once. str() calls it `name`.
  static Mask where(std::function<bool(const PairPosition&)> predicate, std::string name = "where(…)");
  /// masks[h] for head h.
  static Mask per_head(const std::vector<Mask>& masks);

  /// The mask that str() writes, of those that need no tensor, list or callable: "causal & window(256, 0)",
  /// "strided(128) | global(0, 1)", "!window(4, 4)". Error(value) showing where it cannot be read.
  static Mask parse(std::string_view text);

  friend HEADWAY_API Mask operator&(const Mask& a, const Mask& b);
  friend HEADWAY_API Mask operator|(const Mask& a, const Mask& b);
  friend HEADWAY_API Mask operator!(const Mask& a);

  /// True when the query sees the key: the definition that all kernels are held to. Tensors broadcast from
  /// the right, so no shape of the whole is needed.
  bool visible(const PairPosition& at) const;

  /// Error(shape) or Error(value) naming attention where tensors, lengths or heads do not fit.
  void check(const PlanShape& shape) const;

  /// "causal & window(4, 0)"; "all" when nothing is hidden.
  std::string str() const;

  /// Bounds of j by the query's position p: p - left <= j <= p + right.
  struct Interval {
    std::int64_t left, right;
    Align align;
  };
  /// What interval arithmetic can say of a mask: all of its intervals, and key lengths (or empty).
  struct Bounds {
    std::vector<Interval> intervals;
    std::vector<std::int64_t> lengths;
  };
  /// The bounds of a mask that is made of causal, window and padding alone, joined by &; nothing for any
  /// other, which wants a TilePlan.
  std::optional<Bounds> bounds() const;

  /// True when a tensor in it has no values (meta): it can be checked, not asked.
  bool hollow() const;

  static constexpr std::int64_t unbounded = std::int64_t{1} << 60;

  /// Null when everything is visible.
  const MaskNode* node() const { return node_.get(); }

 private:
  explicit Mask(std::shared_ptr<const MaskNode> node) : node_(std::move(node)) {}
  std::shared_ptr<const MaskNode> node_;
};

}  // namespace headway::inline v1
