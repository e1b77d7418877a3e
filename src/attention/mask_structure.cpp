// Masks by position alone: intervals, residues, blocks, tokens.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headway/core/error.h>
#include <headway/core/generator.h>

#include "attention/mask_node.h"

namespace headway::inline v1 {
namespace {

// Bits [begin, end) of a word, within [0, 64].
std::uint64_t bit_range(std::int64_t begin, std::int64_t end) {
  begin = std::clamp<std::int64_t>(begin, 0, 64);
  end = std::clamp<std::int64_t>(end, begin, 64);
  const std::uint64_t below = end == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << end) - 1;
  return begin == 64 ? 0 : below >> begin << begin;
}

class IntervalNode final : public MaskNode {
 public:
  IntervalNode(std::int64_t left, std::int64_t right, Align align) : interval_{left, right, align} {}
  bool visible(const PairPosition& at) const override {
    const std::int64_t distance = position_of(at, interval_.align) - at.key;
    return distance <= interval_.left && distance >= -interval_.right;
  }
  Seen seen(const PairBox& box) const override {
    const Distances d(box, interval_.align);
    if (d.most < -interval_.right || d.least > interval_.left) return Seen::none;
    return d.least >= -interval_.right && d.most <= interval_.left ? Seen::all : Seen::some;
  }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    const std::int64_t first = position_of(box.corner, interval_.align);
    const std::int64_t count = box.query_end - box.corner.query;
    for (std::int64_t j = box.corner.key; j < box.key_end; ++j) {
      *words++ = bit_range(j - interval_.right - first, std::min(count, j + interval_.left - first + 1));
    }
  }
  bool add_bounds(Mask::Bounds& bounds) const override {
    bounds.intervals.push_back(interval_);
    return true;
  }
  std::string str() const override {
    const bool top = interval_.align == Align::top_left;
    if (interval_.left == Mask::unbounded && interval_.right == 0) return top ? "causal(top_left)" : "causal";
    return fmt::format("window({}, {}{})", interval_.left, interval_.right, top ? ", top_left" : "");
  }

 private:
  Mask::Interval interval_;
};

class PaddingNode final : public MaskNode {
 public:
  explicit PaddingNode(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {}
  bool visible(const PairPosition& at) const override { return at.key < length(at); }
  Seen seen(const PairBox& box) const override {
    if (box.key_end <= length(box.corner)) return Seen::all;
    return box.corner.key >= length(box.corner) ? Seen::none : Seen::some;
  }
  bool by_sequence() const override { return true; }
  bool add_bounds(Mask::Bounds& bounds) const override {
    if (bounds.lengths.empty()) bounds.lengths = lengths_;
    for (std::size_t b = 0; b < std::min(lengths_.size(), bounds.lengths.size()); ++b)
      bounds.lengths[b] = std::min(bounds.lengths[b], lengths_[b]);
    return true;
  }
  void check(const PlanShape& shape) const override {
    if (lengths_.size() != shape.sequences.size()) {
      const bool swapped = !shape.sequences.empty() &&
                           shape.sequences[0].queries == static_cast<std::int64_t>(lengths_.size());
      fail(ErrorCode::shape, "attention",
           fmt::format(
               "mask padding has {} lengths for {} sequences; want one for each{}", lengths_.size(),
               shape.sequences.size(),
               swapped ? " (the sequences have that many positions: is the input [T, B, C]? want [B, T, C]: "
                         "transpose(x, 0, 1))"
                       : ""));
    }
    for (std::size_t b = 0; b < lengths_.size(); ++b) {
      if (lengths_[b] <= shape.sequences[b].keys) continue;
      fail(ErrorCode::value, "attention",
           fmt::format("mask padding gives sequence {} {} keys; it has {}", b, lengths_[b],
                       shape.sequences[b].keys));
    }
  }
  std::string str() const override { return "padding"; }

 private:
  std::int64_t length(const PairPosition& at) const {
    return lengths_[static_cast<std::size_t>(at.sequence)];
  }
  std::vector<std::int64_t> lengths_;
};

class DocumentsNode final : public MaskNode {
 public:
  explicit DocumentsNode(std::vector<std::int64_t> offsets) : offsets_(std::move(offsets)) {}
  bool visible(const PairPosition& at) const override {
    const std::int64_t document = document_of(position_of(at));
    return document >= 0 && document == document_of(at.key);
  }
  Seen seen(const PairBox& box) const override {
    const std::int64_t p = position_of(box.corner);
    const std::int64_t first = document_of(p), last = document_of(p + box.query_end - box.corner.query - 1);
    const std::int64_t first_key = document_of(box.corner.key), last_key = document_of(box.key_end - 1);
    if (first >= 0 && first == last && first == first_key && first == last_key) return Seen::all;
    const auto beyond = static_cast<std::int64_t>(offsets_.size());  // after all documents
    const auto rank = [&](std::int64_t document) { return document < 0 ? beyond : document; };
    const bool apart = rank(last) < rank(first_key) || rank(last_key) < rank(first);
    return apart && p >= 0 ? Seen::none : Seen::some;
  }
  std::string str() const override { return fmt::format("documents({})", fmt::join(offsets_, ", ")); }

 private:
  // -1 outside all of them.
  std::int64_t document_of(std::int64_t position) const {
    if (position < 0 || position >= offsets_.back()) return -1;
    return std::upper_bound(offsets_.begin(), offsets_.end(), position) - offsets_.begin() - 1;
  }
  std::vector<std::int64_t> offsets_;
};

class MultiplesNode final : public MaskNode {
 public:
  explicit MultiplesNode(const Residues& residues) : residues_(residues) {}
  bool visible(const PairPosition& at) const override {
    return (position_of(at, residues_.align) - at.key) % residues_.step == 0;
  }
  Seen seen(const PairBox& box) const override {
    if (residues_.step == 1) return Seen::all;
    const bool mine = box.residues.step == residues_.step && box.residues.align == residues_.align;
    if (box.part == PairBox::Part::gathered && mine) return Seen::all;
    const Distances d(box, residues_.align);
    if (box.part == PairBox::Part::rest && mine &&
        (d.least > box.residues.near || d.most < -box.residues.near))
      return Seen::none;
    return floor_div(d.most, residues_.step) * residues_.step < d.least ? Seen::none : Seen::some;
  }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    const std::int64_t step = residues_.step;
    const std::int64_t first = position_of(box.corner, residues_.align);
    const std::int64_t count = box.query_end - box.corner.query;
    for (std::int64_t j = box.corner.key; j < box.key_end; ++j) {
      std::uint64_t word = 0;
      const std::int64_t start = (j - first) - floor_div(j - first, step) * step;
      for (std::int64_t i = start; i < count; i += step) word |= std::uint64_t{1} << i;
      *words++ = word;
    }
  }
  Residues residues() const override { return residues_; }
  std::string str() const override { return fmt::format("multiples({})", residues_.step); }

 private:
  Residues residues_;
};

class BlockWindowNode final : public MaskNode {
 public:
  BlockWindowNode(std::int64_t size, std::int64_t left, std::int64_t right)
      : size_(size), left_(left), right_(right) {}
  bool visible(const PairPosition& at) const override {
    return holds(block(position_of(at)) - block(at.key));
  }
  Seen seen(const PairBox& box) const override {
    const std::int64_t p = position_of(box.corner);
    const std::int64_t least = block(p) - block(box.key_end - 1);
    const std::int64_t most = block(p + box.query_end - box.corner.query - 1) - block(box.corner.key);
    if (most < -right_ || least > left_) return Seen::none;
    return holds(least) && holds(most) ? Seen::all : Seen::some;
  }
  std::string str() const override { return fmt::format("block_window({}, {}, {})", size_, left_, right_); }

 private:
  std::int64_t block(std::int64_t position) const { return floor_div(position, size_); }
  bool holds(std::int64_t distance) const { return distance <= left_ && distance >= -right_; }
  std::int64_t size_, left_, right_;
};

class BlockEndsNode final : public MaskNode {
 public:
  BlockEndsNode(std::int64_t size, std::int64_t count) : size_(size), count_(count) {}
  bool visible(const PairPosition& at) const override { return at.key % size_ >= size_ - count_; }
  Seen seen(const PairBox& box) const override {
    const std::int64_t first = box.corner.key % size_, last = first + box.key_end - box.corner.key - 1;
    if (last < size_ - count_) return Seen::none;
    return first >= size_ - count_ && last < size_ ? Seen::all : Seen::some;
  }
  std::string str() const override { return fmt::format("block_ends({}, {})", size_, count_); }

 private:
  std::int64_t size_, count_;
};

class TokensNode final : public MaskNode {
 public:
  explicit TokensNode(std::vector<std::int64_t> positions) : positions_(std::move(positions)) {
    std::sort(positions_.begin(), positions_.end());
  }
  bool visible(const PairPosition& at) const override { return holds(at.key) || holds(position_of(at)); }
  Seen seen(const PairBox& box) const override {
    const std::int64_t p = position_of(box.corner), queries = box.query_end - box.corner.query;
    const std::int64_t keys = box.key_end - box.corner.key;
    const std::int64_t among_queries = count(p, p + queries), among_keys = count(box.corner.key, box.key_end);
    if (among_queries == queries || among_keys == keys) return Seen::all;
    return among_queries + among_keys == 0 ? Seen::none : Seen::some;
  }
  std::string str() const override { return fmt::format("global({})", fmt::join(positions_, ", ")); }

 private:
  bool holds(std::int64_t position) const {
    return std::binary_search(positions_.begin(), positions_.end(), position);
  }
  std::int64_t count(std::int64_t begin, std::int64_t end) const {
    return std::lower_bound(positions_.begin(), positions_.end(), end) -
           std::lower_bound(positions_.begin(), positions_.end(), begin);
  }
  std::vector<std::int64_t> positions_;
};

class RandomBlocksNode final : public MaskNode {
 public:
  RandomBlocksNode(std::int64_t block, std::int64_t count, std::uint64_t seed)
      : block_(block), count_(count), seed_(seed) {}
  bool visible(const PairPosition& at) const override {
    return drawn(floor_div(position_of(at), block_), at.key / block_, at.keys);
  }
  Seen seen(const PairBox& box) const override {
    const std::int64_t p = position_of(box.corner);
    const std::int64_t last_row = floor_div(p + box.query_end - box.corner.query - 1, block_);
    const std::int64_t last_column = (box.key_end - 1) / block_;
    std::int64_t hits = 0, cells = 0;
    for (std::int64_t row = floor_div(p, block_); row <= last_row; ++row) {
      for (std::int64_t column = box.corner.key / block_; column <= last_column; ++column, ++cells)
        hits += drawn(row, column, box.corner.keys);
    }
    if (hits == 0) return Seen::none;
    return hits == cells ? Seen::all : Seen::some;
  }
  std::string str() const override { return fmt::format("random_blocks({}, {}, {})", block_, count_, seed_); }

 private:
  // Floyd's way to draw without replacement: a row's columns depend on the seed, the row and the number of
  // columns alone.
  bool drawn(std::int64_t row, std::int64_t column, std::int64_t keys) const {
    const std::int64_t columns = (keys + block_ - 1) / block_;
    if (count_ >= columns) return true;
    std::vector<std::int64_t> picks;
    for (std::int64_t n = 0; n < count_; ++n) {
      const std::int64_t last = columns - count_ + n;
      const std::int64_t candidate = draw(row, n, last + 1);
      const bool taken = std::find(picks.begin(), picks.end(), candidate) != picks.end();
      picks.push_back(taken ? last : candidate);
    }
    return std::find(picks.begin(), picks.end(), column) != picks.end();
  }
  std::int64_t draw(std::int64_t row, std::int64_t n, std::int64_t range) const {
    const RandomCall call{seed_, 0};
    const auto words = call.words(static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(n));
    return static_cast<std::int64_t>(
        (static_cast<std::uint64_t>(words[0]) * static_cast<std::uint64_t>(range)) >> 32);
  }
  std::int64_t block_, count_;
  std::uint64_t seed_;
};

}  // namespace

NodePointer interval_node(std::int64_t left, std::int64_t right, Align align) {
  return std::make_shared<IntervalNode>(left, right, align);
}
NodePointer padding_node(std::vector<std::int64_t> lengths) {
  return std::make_shared<PaddingNode>(std::move(lengths));
}
NodePointer documents_node(std::vector<std::int64_t> offsets) {
  return std::make_shared<DocumentsNode>(std::move(offsets));
}
NodePointer multiples_node(std::int64_t step, Align align, std::int64_t near) {
  return std::make_shared<MultiplesNode>(Residues{step, near, align});
}

bool Residues::holds_any(std::int64_t least, std::int64_t most) const {
  const auto between = [&](std::int64_t from, std::int64_t to) {
    return from <= to && floor_div(to, step) * step >= from;
  };
  return near < 0 ? between(least, most)
                  : between(std::max(least, near + 1), most) || between(least, std::min(most, -near - 1));
}
NodePointer block_window_node(std::int64_t size, std::int64_t left, std::int64_t right) {
  return std::make_shared<BlockWindowNode>(size, left, right);
}
NodePointer block_ends_node(std::int64_t size, std::int64_t count) {
  return std::make_shared<BlockEndsNode>(size, count);
}
NodePointer tokens_node(std::vector<std::int64_t> positions) {
  return std::make_shared<TokensNode>(std::move(positions));
}
NodePointer random_blocks_node(std::int64_t block, std::int64_t count, std::uint64_t seed) {
  return std::make_shared<RandomBlocksNode>(block, count, seed);
}

}  // namespace headway::inline v1
