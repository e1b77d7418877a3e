#include <headway/attention/mask.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/core/error.h>

#include "attention/mask_node.h"

namespace headway::inline v1 {
namespace {

void check_boolean(const char* operation, const Tensor& tensor) {
  if (tensor.defined() && tensor.dtype() == DType::boolean) return;
  fail(ErrorCode::dtype, operation,
       fmt::format("tensor is {}; want bool (scores to add go in as a bias: -inf there hides a pair)",
                   tensor.describe()));
}

void check_least(const char* operation, const char* argument, std::int64_t got, std::int64_t least) {
  if (got >= least) return;
  fail(ErrorCode::value, operation, fmt::format("{} is {}; want at least {}", argument, got, least));
}

// Sizes that are multiplied with one another and with numbers of positions.
void check_size(const char* operation, const char* argument, std::int64_t got, std::int64_t least) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  check_least(operation, argument, got, least);
  if (got > kMost) {
    fail(ErrorCode::value, operation, fmt::format("{} is {}; want at most {}", argument, got, kMost));
  }
}

NodePointer causal_node() { return interval_node(Mask::unbounded, 0, Align::bottom_right); }

NodePointer united(const std::vector<NodePointer>& parts) {
  NodePointer all = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) all = either_node(all, parts[i]);
  return all;
}

}  // namespace

Mask Mask::causal(Align align) { return Mask(interval_node(unbounded, 0, align)); }

Mask Mask::window(std::int64_t left, std::int64_t right, Align align) {
  if (left < 0 || right < 0) {
    fail(ErrorCode::value, "Mask::window",
         fmt::format("left is {}, right {}; want both at least 0", left, right));
  }
  return Mask(interval_node(std::min(left, unbounded), std::min(right, unbounded), align));
}

Mask Mask::padding(std::vector<std::int64_t> lengths) {
  if (lengths.empty())
    fail(ErrorCode::value, "Mask::padding", "lengths are empty; want one for each sequence");
  if (std::any_of(lengths.begin(), lengths.end(), [](std::int64_t length) { return length < 0; })) {
    fail(ErrorCode::value, "Mask::padding", "a length is negative; want at least 0");
  }
  return Mask(padding_node(std::move(lengths)));
}

Mask Mask::documents(std::vector<std::int64_t> offsets) {
  if (offsets.size() < 2 || offsets.front() != 0 || !std::is_sorted(offsets.begin(), offsets.end())) {
    fail(ErrorCode::value, "Mask::documents",
         fmt::format("{} offsets{}; want them rising from 0, one more than documents", offsets.size(),
                     offsets.empty() ? "" : fmt::format(" from {} to {}", offsets.front(), offsets.back())));
  }
  return Mask(documents_node(std::move(offsets)));
}

Mask Mask::allow(const Tensor& visible) {
  check_boolean("Mask::allow", visible);
  return Mask(tensor_node(visible, true));
}

Mask Mask::deny(const Tensor& hidden) {
  check_boolean("Mask::deny", hidden);
  return Mask(tensor_node(hidden, false));
}

Mask Mask::dilated(std::int64_t left, std::int64_t right, std::int64_t step, Align align) {
  check_least("Mask::dilated", "left", left, 0);
  check_least("Mask::dilated", "right", right, 0);
  check_size("Mask::dilated", "step", step, 1);
  const auto reach = [&](std::int64_t count) { return count > unbounded / step ? unbounded : count * step; };
  return Mask(named_node(
      both_node(interval_node(reach(left), reach(right), align), multiples_node(step, align)),
      fmt::format("dilated({}, {}, {}{})", left, right, step, align == Align::top_left ? ", top_left" : "")));
}

Mask Mask::strided(std::int64_t stride) {
  check_size("Mask::strided", "stride", stride, 1);
  const NodePointer seen = either_node(interval_node(stride, 0, Align::bottom_right),
                                       multiples_node(stride, Align::bottom_right, stride));
  return Mask(named_node(both_node(causal_node(), seen), fmt::format("strided({})", stride)));
}

Mask Mask::fixed(std::int64_t stride, std::int64_t summary) {
  check_size("Mask::fixed", "stride", stride, 1);
  if (summary < 0 || summary > stride) {
    fail(ErrorCode::value, "Mask::fixed", fmt::format("summary is {}; want 0 to {}", summary, stride));
  }
  const NodePointer seen = either_node(block_window_node(stride, 0, 0), block_ends_node(stride, summary));
  return Mask(named_node(both_node(causal_node(), seen), fmt::format("fixed({}, {})", stride, summary)));
}

Mask Mask::global(std::vector<std::int64_t> positions) {
  for (const std::int64_t position : positions) check_least("Mask::global", "a position", position, 0);
  return Mask(tokens_node(std::move(positions)));
}

Mask Mask::random_blocks(std::int64_t block, std::int64_t count, std::uint64_t seed) {
  check_size("Mask::random_blocks", "block", block, 1);
  check_size("Mask::random_blocks", "count", count, 0);
  return Mask(random_blocks_node(block, count, seed));
}

Mask Mask::big_bird(const BigBirdOptions& o) {
  check_size("Mask::big_bird", "block", o.block, 1);
  check_size("Mask::big_bird", "global", o.global, 0);
  check_size("Mask::big_bird", "random", o.random, 0);
  check_size("Mask::big_bird", "window", o.window, 1);
  if (o.window % 2 == 0) {
    fail(ErrorCode::value, "Mask::big_bird",
         fmt::format("window is {} blocks; want an odd number, the query's own in the middle", o.window));
  }
  std::vector<std::int64_t> first(static_cast<std::size_t>(o.global * o.block));
  for (std::size_t i = 0; i < first.size(); ++i) first[i] = static_cast<std::int64_t>(i);
  return Mask(
      named_node(united({block_window_node(o.block, o.window / 2, o.window / 2),
                         tokens_node(std::move(first)), random_blocks_node(o.block, o.random, o.seed)}),
                 fmt::format("big_bird({}, {}, {}, {}, {})", o.block, o.window, o.global, o.random, o.seed)));
}

Mask Mask::blocks(const Tensor& visible, std::int64_t block) {
  check_boolean("Mask::blocks", visible);
  check_size("Mask::blocks", "block", block, 1);
  return Mask(block_tensor_node(visible, block));
}

Mask Mask::where(std::function<bool(const PairPosition&)> predicate, std::string name) {
  if (!predicate) fail(ErrorCode::value, "Mask::where", "the predicate is empty");
  return Mask(predicate_node(std::move(predicate), std::move(name)));
}

Mask Mask::per_head(const std::vector<Mask>& masks) {
  if (masks.empty()) fail(ErrorCode::value, "Mask::per_head", "masks are empty; want one for each head");
  std::vector<NodePointer> nodes;
  for (const Mask& mask : masks) nodes.push_back(mask.node_);
  return Mask(per_head_node(std::move(nodes)));
}

Mask operator&(const Mask& a, const Mask& b) {
  if (!a.node_ || !b.node_) return a.node_ ? a : b;
  return Mask(both_node(a.node_, b.node_));
}

Mask operator|(const Mask& a, const Mask& b) {
  if (!a.node_ || !b.node_) return {};
  return Mask(either_node(a.node_, b.node_));
}

Mask operator!(const Mask& a) {
  if (a.node_) return Mask(not_node(a.node_));
  return Mask(named_node(
      both_node(interval_node(0, 0, Align::top_left), not_node(interval_node(0, 0, Align::top_left))),
      "!all"));
}

bool Mask::visible(const PairPosition& at) const { return !node_ || node_->visible(at); }

std::string Mask::str() const { return node_ ? node_->str() : "all"; }

bool Mask::hollow() const { return node_ && node_->hollow(); }

void Mask::check(const PlanShape& shape) const {
  if (node_) node_->check(shape);
}

std::optional<Mask::Bounds> Mask::bounds() const {
  Bounds bounds;
  if (node_ && !node_->add_bounds(bounds)) return std::nullopt;
  return bounds;
}

}  // namespace headway::inline v1
