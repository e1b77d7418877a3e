#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// Which end of the keys the queries stand at when there are more keys than queries.
enum class Align {
  bottom_right,  ///< the last query sees every key, as a cache needs: query i has position i + S - T
  top_left       ///< query i has position i
};

/// Who may look at whom, as a value. The name says the polarity: `causal`, `window`, `padding` and `allow`
/// tell what is seen, `deny` what is not. `a & b` sees what both see. Positions are counted within each
/// sequence.
class HEADWAY_API Mask {
 public:
  /// Everything is visible.
  Mask() = default;
  /// A query at position p sees keys 0 … p.
  static Mask causal(Align align = Align::bottom_right);
  /// A query at position p sees keys p - left … p + right (Beltagy et al. 2020). Error(value) when either is
  /// negative.
  static Mask window(std::int64_t left, std::int64_t right, Align align = Align::bottom_right);
  /// Sequence b has lengths[b] keys; the rest of the row is padding.
  static Mask padding(std::vector<std::int64_t> lengths);
  /// visible is bool and broadcasts to [B, H, T, S] (from the right, dimensions of 1); true is seen.
  static Mask allow(const Tensor& visible);
  /// hidden is bool and broadcasts to [B, H, T, S]; true is not seen.
  static Mask deny(const Tensor& hidden);

  friend HEADWAY_API Mask operator&(const Mask& a, const Mask& b);
  friend Mask operator|(const Mask&, const Mask&) = delete;  // comes with the sparse patterns

  /// "causal & window(4, 0)"; "all" when nothing is hidden.
  std::string str() const;

  /// The conjunction's parts, for those who compute with them. Each interval bounds j by the query's position
  /// p: p - left <= j <= p + right.
  struct Interval {
    std::int64_t left, right;
    Align align;
  };
  struct Pairs {
    Tensor tensor;
    bool allow;
  };
  const std::vector<Interval>& intervals() const { return intervals_; }
  const std::vector<Pairs>& pairs() const { return pairs_; }
  /// Key lengths, or empty.
  const std::vector<std::int64_t>& lengths() const { return lengths_; }
  static constexpr std::int64_t unbounded = std::int64_t{1} << 60;

 private:
  std::vector<Interval> intervals_;
  std::vector<Pairs> pairs_;
  std::vector<std::int64_t> lengths_;
};

}  // namespace headway::inline v1
