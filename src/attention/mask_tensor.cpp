// Masks by values: tensors and callables.
#include <algorithm>

#include <fmt/format.h>

#include <headway/core/error.h>

#include "attention/mask_node.h"

namespace headway::inline v1 {
namespace {

// Strides of x broadcast to four dimensions, by x's own shape.
PairStrides strides_of(const Tensor& x) {
  const auto stride = [&](int from_end) {
    return x.rank() < from_end || x.size(-from_end) == 1 ? 0 : x.stride(-from_end);
  };
  return {stride(4), stride(3), stride(2), stride(1)};
}

bool has_dimension(const Tensor& x, int from_end) { return x.rank() >= from_end && x.size(-from_end) > 1; }

class TensorNode final : public MaskNode {
 public:
  TensorNode(Tensor tensor, bool allow)
      : tensor_(std::move(tensor)), allow_(allow), strides_(strides_of(tensor_)) {}
  bool visible(const PairPosition& at) const override {
    return tensor_.data<bool>()[strides_.at(at.sequence, at.head, at.query, at.key)] == allow_;
  }
  Seen seen(const PairBox&) const override { return Seen::some; }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    const PairPosition& at = box.corner;
    const std::int64_t queries = box.query_end - at.query, keys = box.key_end - at.key;
    const bool* corner = tensor_.data<bool>() + strides_.at(at.sequence, at.head, at.query, at.key);
    std::fill(words, words + keys, 0);
    for (std::int64_t i = 0; i < queries; ++i) {  // by rows of queries: that is how such tensors lie
      const bool* row = corner + i * strides_.query;
      for (std::int64_t j = 0; j < keys; ++j)
        words[j] |= static_cast<std::uint64_t>(row[j * strides_.key] == allow_) << i;
    }
  }
  bool by_sequence() const override { return has_dimension(tensor_, 4); }
  bool by_head() const override { return has_dimension(tensor_, 3); }
  bool hollow() const override { return tensor_.device() == Device::meta; }
  void check(const PlanShape& shape) const override {
    broadcast_pairs(allow_ ? "mask (allow)" : "mask (deny)", tensor_, shape.pairs());
  }
  std::string str() const override {
    return fmt::format("{}({})", allow_ ? "allow" : "deny", tensor_.shape().str());
  }

 private:
  Tensor tensor_;
  bool allow_;
  PairStrides strides_;
};

class BlockTensorNode final : public MaskNode {
 public:
  BlockTensorNode(Tensor tensor, std::int64_t block)
      : tensor_(std::move(tensor)), block_(block), strides_(strides_of(tensor_)) {}
  bool visible(const PairPosition& at) const override {
    return at_block(at, at.query / block_, at.key / block_);
  }
  Seen seen(const PairBox& box) const override {
    std::int64_t hits = 0, cells = 0;
    for (std::int64_t row = box.corner.query / block_; row <= (box.query_end - 1) / block_; ++row) {
      for (std::int64_t column = box.corner.key / block_; column <= (box.key_end - 1) / block_;
           ++column, ++cells)
        hits += at_block(box.corner, row, column);
    }
    if (hits == 0) return Seen::none;
    return hits == cells ? Seen::all : Seen::some;
  }
  bool by_sequence() const override { return has_dimension(tensor_, 4); }
  bool by_head() const override { return has_dimension(tensor_, 3); }
  bool hollow() const override { return tensor_.device() == Device::meta; }
  void check(const PlanShape& shape) const override {
    const Shape pairs = shape.pairs();
    const auto blocks = [&](std::int64_t length) { return (length + block_ - 1) / block_; };
    broadcast_pairs("mask (blocks)", tensor_, {pairs[0], pairs[1], blocks(pairs[2]), blocks(pairs[3])});
  }
  std::string str() const override { return fmt::format("blocks({}, {})", tensor_.shape().str(), block_); }

 private:
  bool at_block(const PairPosition& at, std::int64_t row, std::int64_t column) const {
    return tensor_.data<bool>()[strides_.at(at.sequence, at.head, row, column)];
  }
  Tensor tensor_;
  std::int64_t block_;
  PairStrides strides_;
};

class PredicateNode final : public MaskNode {
 public:
  PredicateNode(std::function<bool(const PairPosition&)> predicate, std::string name)
      : predicate_(std::move(predicate)), name_(std::move(name)) {}
  bool visible(const PairPosition& at) const override { return predicate_(at); }
  Seen seen(const PairBox&) const override { return Seen::some; }
  // What a callable looks at is not known.
  bool by_sequence() const override { return true; }
  bool by_head() const override { return true; }
  std::string str() const override { return name_; }

 private:
  std::function<bool(const PairPosition&)> predicate_;
  std::string name_;
};

}  // namespace

PairStrides broadcast_pairs(const char* argument, const Tensor& x, const Shape& target) {
  const auto fits = [&](const Shape& shape) {
    if (shape.rank() > 4) return false;
    for (int d = 1; d <= shape.rank(); ++d) {
      if (shape[-d] != 1 && shape[-d] != target[-d]) return false;
    }
    return true;
  };
  if (!fits(x.shape())) {
    Shape swapped = x.shape();
    if (swapped.rank() >= 2) std::swap(swapped[-1], swapped[-2]);
    std::string hint;
    if (fits(swapped)) hint = " (its last two dimensions are [S, T]: transpose(x, -1, -2))";
    if (x.rank() == 3 && fits({x.size(0), 1, x.size(1), x.size(2)})) {
      hint = fmt::format(" (one map for each sequence is {}: reshape it)",
                         Shape{x.size(0), 1, x.size(1), x.size(2)}.str());
    }
    fail(ErrorCode::shape, "attention",
         fmt::format("{} is {}; want something that broadcasts to [B, H, T, S] = {}{}", argument,
                     x.describe(), target.str(), hint));
  }
  return strides_of(x);
}

NodePointer tensor_node(const Tensor& tensor, bool allow) {
  return std::make_shared<TensorNode>(tensor, allow);
}
NodePointer block_tensor_node(const Tensor& visible, std::int64_t block) {
  return std::make_shared<BlockTensorNode>(visible, block);
}
NodePointer predicate_node(std::function<bool(const PairPosition&)> predicate, std::string name) {
  return std::make_shared<PredicateNode>(std::move(predicate), std::move(name));
}

}  // namespace headway::inline v1
