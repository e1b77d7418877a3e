// How masks combine: and, or, not, one for each head.
#include "attention/mask_node.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headway/core/error.h>

namespace headway::inline v1 {
namespace {

// All bits of the box's queries.
std::uint64_t whole(const PairBox& box) {
  const std::int64_t count = box.query_end - box.corner.query;
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

std::string nested(const MaskNode& node, int within) {
  return node.precedence() < within ? fmt::format("({})", node.str()) : node.str();
}

// And, or: they differ in which answer of one part settles the matter.
class PairOfNodes : public MaskNode {
 public:
  PairOfNodes(NodePointer a, NodePointer b) : a_(std::move(a)), b_(std::move(b)) {}
  bool by_sequence() const override { return a_->by_sequence() || b_->by_sequence(); }
  bool by_head() const override { return a_->by_head() || b_->by_head(); }
  bool hollow() const override { return a_->hollow() || b_->hollow(); }
  Residues residues() const override {
    const Residues first = a_->residues();
    return first.step > 1 ? first : b_->residues();
  }
  void check(const PlanShape& shape) const override {
    a_->check(shape);
    b_->check(shape);
  }

 protected:
  // One part's words, and then the other's, joined; a part that says `neutral` of the whole box is not asked.
  template <typename Join>
  void join(const PairBox& box, Seen neutral, std::uint64_t* words, const Join& joined) const {
    const bool skip_a = a_->seen(box) == neutral;
    if (skip_a || b_->seen(box) == neutral) return (skip_a ? b_ : a_)->bits(box, words);
    a_->bits(box, words);
    const std::int64_t keys = box.key_end - box.corner.key;
    std::vector<std::uint64_t> other(static_cast<std::size_t>(keys));
    b_->bits(box, other.data());
    for (std::int64_t j = 0; j < keys; ++j) words[j] = joined(words[j], other[static_cast<std::size_t>(j)]);
  }
  NodePointer a_, b_;
};

class BothNode final : public PairOfNodes {
 public:
  using PairOfNodes::PairOfNodes;
  bool visible(const PairPosition& at) const override { return a_->visible(at) && b_->visible(at); }
  Seen seen(const PairBox& box) const override {
    const Seen a = a_->seen(box);
    return a == Seen::none ? a : std::min(a, b_->seen(box));
  }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    join(box, Seen::all, words, [](std::uint64_t x, std::uint64_t y) { return x & y; });
  }
  bool add_bounds(Mask::Bounds& bounds) const override {
    return a_->add_bounds(bounds) && b_->add_bounds(bounds);
  }
  int precedence() const override { return 1; }
  std::string str() const override { return fmt::format("{} & {}", nested(*a_, 1), nested(*b_, 1)); }
};

class EitherNode final : public PairOfNodes {
 public:
  using PairOfNodes::PairOfNodes;
  bool visible(const PairPosition& at) const override { return a_->visible(at) || b_->visible(at); }
  Seen seen(const PairBox& box) const override {
    const Seen a = a_->seen(box);
    return a == Seen::all ? a : std::max(a, b_->seen(box));
  }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    join(box, Seen::none, words, [](std::uint64_t x, std::uint64_t y) { return x | y; });
  }
  int precedence() const override { return 0; }
  std::string str() const override { return fmt::format("{} | {}", a_->str(), b_->str()); }
};

class NotNode final : public MaskNode {
 public:
  explicit NotNode(NodePointer inner) : inner_(std::move(inner)) {}
  bool visible(const PairPosition& at) const override { return !inner_->visible(at); }
  Seen seen(const PairBox& box) const override {
    const Seen inner = inner_->seen(box);
    return inner == Seen::some ? inner : inner == Seen::all ? Seen::none : Seen::all;
  }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    inner_->bits(box, words);
    for (std::int64_t j = 0; j < box.key_end - box.corner.key; ++j) words[j] = ~words[j] & whole(box);
  }
  bool by_sequence() const override { return inner_->by_sequence(); }
  bool by_head() const override { return inner_->by_head(); }
  bool hollow() const override { return inner_->hollow(); }
  Residues residues() const override { return inner_->residues(); }
  void check(const PlanShape& shape) const override { inner_->check(shape); }
  std::string str() const override { return fmt::format("!{}", nested(*inner_, 2)); }

 private:
  NodePointer inner_;
};

class PerHeadNode final : public MaskNode {
 public:
  explicit PerHeadNode(std::vector<NodePointer> heads) : heads_(std::move(heads)) {}
  bool visible(const PairPosition& at) const override {
    const MaskNode* node = of(at);
    return !node || node->visible(at);
  }
  Seen seen(const PairBox& box) const override {
    const MaskNode* node = of(box.corner);
    return node ? node->seen(box) : Seen::all;
  }
  void bits(const PairBox& box, std::uint64_t* words) const override {
    if (const MaskNode* node = of(box.corner)) return node->bits(box, words);
    std::fill(words, words + (box.key_end - box.corner.key), whole(box));
  }
  bool by_sequence() const override {
    return any([](const MaskNode& node) { return node.by_sequence(); });
  }
  bool by_head() const override { return true; }
  bool hollow() const override {
    return any([](const MaskNode& node) { return node.hollow(); });
  }
  Residues residues() const override {
    Residues first;
    for (std::size_t h = 0; h < heads_.size() && first.step == 1; ++h) {
      if (heads_[h]) first = heads_[h]->residues();
    }
    return first;
  }
  void check(const PlanShape& shape) const override {
    if (static_cast<std::int64_t>(heads_.size()) != shape.heads) {
      fail(ErrorCode::shape, "attention",
           fmt::format("mask per_head has {} masks for {} heads", heads_.size(), shape.heads));
    }
    for (const NodePointer& node : heads_) {
      if (node) node->check(shape);
    }
  }
  std::string str() const override {
    std::vector<std::string> heads;
    for (const NodePointer& node : heads_) heads.push_back(node ? node->str() : "all");
    return fmt::format("per_head({})", fmt::join(heads, ", "));
  }

 private:
  const MaskNode* of(const PairPosition& at) const { return heads_[static_cast<std::size_t>(at.head)].get(); }
  template <typename Test>
  bool any(const Test& test) const {
    return std::any_of(heads_.begin(), heads_.end(),
                       [&](const NodePointer& node) { return node && test(*node); });
  }
  std::vector<NodePointer> heads_;
};

class NamedNode final : public MaskNode {
 public:
  NamedNode(NodePointer inner, std::string name) : inner_(std::move(inner)), name_(std::move(name)) {}
  bool visible(const PairPosition& at) const override { return inner_->visible(at); }
  Seen seen(const PairBox& box) const override { return inner_->seen(box); }
  void bits(const PairBox& box, std::uint64_t* words) const override { inner_->bits(box, words); }
  bool by_sequence() const override { return inner_->by_sequence(); }
  bool by_head() const override { return inner_->by_head(); }
  bool hollow() const override { return inner_->hollow(); }
  Residues residues() const override { return inner_->residues(); }
  void check(const PlanShape& shape) const override { inner_->check(shape); }
  std::string str() const override { return name_; }

 private:
  NodePointer inner_;
  std::string name_;
};

}  // namespace

void MaskNode::bits(const PairBox& box, std::uint64_t* words) const {
  PairPosition at = box.corner;
  for (at.key = box.corner.key; at.key < box.key_end; ++at.key) {
    std::uint64_t word = 0;
    for (at.query = box.corner.query; at.query < box.query_end; ++at.query)
      word |= static_cast<std::uint64_t>(visible(at)) << (at.query - box.corner.query);
    *words++ = word;
  }
}

NodePointer both_node(NodePointer a, NodePointer b) {
  return std::make_shared<BothNode>(std::move(a), std::move(b));
}
NodePointer either_node(NodePointer a, NodePointer b) {
  return std::make_shared<EitherNode>(std::move(a), std::move(b));
}
NodePointer not_node(NodePointer a) { return std::make_shared<NotNode>(std::move(a)); }
NodePointer per_head_node(std::vector<NodePointer> heads) {
  return std::make_shared<PerHeadNode>(std::move(heads));
}
NodePointer named_node(NodePointer inner, std::string name) {
  return std::make_shared<NamedNode>(std::move(inner), std::move(name));
}

}  // namespace headway::inline v1
