#include <headway/attention/mask.h>

#include <algorithm>

#include <fmt/format.h>

namespace headway::inline v1 {
namespace {
void check_boolean(const char* operation, const Tensor& tensor) {
  if (tensor.defined() && tensor.dtype() == DType::boolean) return;
  fail(ErrorCode::dtype, operation,
       fmt::format("tensor is {}; want bool (scores to add go in as a bias: -inf there hides a pair)",
                   tensor.describe()));
}
}  // namespace

Mask Mask::causal(Align align) {
  Mask mask;
  mask.intervals_.push_back({unbounded, 0, align});
  return mask;
}

Mask Mask::window(std::int64_t left, std::int64_t right, Align align) {
  if (left < 0 || right < 0) {
    fail(ErrorCode::value, "Mask::window",
         fmt::format("left is {}, right {}; want both at least 0", left, right));
  }
  Mask mask;
  mask.intervals_.push_back({std::min(left, unbounded), std::min(right, unbounded), align});
  return mask;
}

Mask Mask::padding(std::vector<std::int64_t> lengths) {
  if (lengths.empty())
    fail(ErrorCode::value, "Mask::padding", "lengths are empty; want one for each sequence");
  if (std::any_of(lengths.begin(), lengths.end(), [](std::int64_t length) { return length < 0; })) {
    fail(ErrorCode::value, "Mask::padding", "a length is negative; want at least 0");
  }
  Mask mask;
  mask.lengths_ = std::move(lengths);
  return mask;
}

Mask Mask::allow(const Tensor& visible) {
  check_boolean("Mask::allow", visible);
  Mask mask;
  mask.pairs_.push_back({visible, true});
  return mask;
}

Mask Mask::deny(const Tensor& hidden) {
  check_boolean("Mask::deny", hidden);
  Mask mask;
  mask.pairs_.push_back({hidden, false});
  return mask;
}

Mask operator&(const Mask& a, const Mask& b) {
  Mask both = a;
  both.intervals_.insert(both.intervals_.end(), b.intervals_.begin(), b.intervals_.end());
  both.pairs_.insert(both.pairs_.end(), b.pairs_.begin(), b.pairs_.end());
  if (both.lengths_.empty()) {
    both.lengths_ = b.lengths_;
  } else if (!b.lengths_.empty()) {
    if (a.lengths_.size() != b.lengths_.size()) {
      fail(ErrorCode::shape, "Mask",
           fmt::format("{} and {} are for batches of {} and {}", a.str(), b.str(), a.lengths_.size(),
                       b.lengths_.size()));
    }
    for (std::size_t i = 0; i < both.lengths_.size(); ++i)
      both.lengths_[i] = std::min(a.lengths_[i], b.lengths_[i]);
  }
  return both;
}

std::string Mask::str() const {
  std::string out;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : " & ") + part; };
  for (const Interval& interval : intervals_) {
    const char* align = interval.align == Align::top_left ? "top_left" : "";
    if (interval.left == unbounded && interval.right == 0) {
      add(fmt::format("causal{}{}{}", *align ? "(" : "", align, *align ? ")" : ""));
    } else {
      add(fmt::format("window({}, {}{}{})", interval.left, interval.right, *align ? ", " : "", align));
    }
  }
  if (!lengths_.empty()) add("padding");
  for (const Pairs& pairs : pairs_)
    add(fmt::format("{}({})", pairs.allow ? "allow" : "deny", pairs.tensor.shape().str()));
  return out.empty() ? "all" : out;
}

}  // namespace headway::inline v1
