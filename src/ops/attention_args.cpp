#include "ops/attention_args.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/ops/views.h>

namespace headway::inline v1::ops {
namespace {

constexpr const char* kOperation = "attention";

[[noreturn]] void wrong_shape(std::string_view message) { fail(ErrorCode::shape, kOperation, message); }

void check_heads(const HeadsView& q, const HeadsView& k, const HeadsView& v) {
  const DType dtype = q.tensor.dtype();
  if (dtype != k.tensor.dtype() || dtype != v.tensor.dtype() ||
      (dtype != DType::float32 && dtype != DType::bfloat16 && dtype != DType::float64)) {
    fail(ErrorCode::dtype, kOperation,
         fmt::format("query is {}, key {}, value {}; want one of float32, bfloat16, float64 for all",
                     name_of(dtype), name_of(k.tensor.dtype()), name_of(v.tensor.dtype())));
  }
  if (q.packed != k.packed || k.packed != v.packed) {
    wrong_shape(fmt::format("query is {}, key {}, value {}; want all [B, T, H, D] or all packed [N, H, D]",
                            q.tensor.shape().str(), k.tensor.shape().str(), v.tensor.shape().str()));
  }
  if (q.batch != k.batch || k.batch != v.batch) {
    const bool swapped = q.length == k.length && q.batch != k.batch;
    wrong_shape(fmt::format(
        "query has a batch of {}, key {}, value {}; want equal{}", q.batch, k.batch, v.batch,
        swapped ? " (dimension 1 agrees and dimension 0 does not: is the input [T, B, H, D]? want "
                  "[B, T, H, D]: transpose(x, 0, 1))"
                : ""));
  }
  if (k.length != v.length) {
    wrong_shape(fmt::format("key has {} positions, value has {}; want equal: every key needs its value",
                            k.length, v.length));
  }
  if (q.dim != k.dim) {
    wrong_shape(fmt::format("query heads have dimension {}, key heads {}; want equal", q.dim, k.dim));
  }
  if (k.heads != v.heads)
    wrong_shape(fmt::format("key has {} heads, value has {}; want equal", k.heads, v.heads));
  if (q.dim == 0 || q.heads == 0 || k.heads == 0) {
    wrong_shape(fmt::format("query is {}, key {}; want at least one head of dimension 1",
                            q.tensor.shape().str(), k.tensor.shape().str()));
  }
  if (q.heads % k.heads != 0) {
    const bool swapped = !q.packed && q.length == k.length;
    wrong_shape(fmt::format("key has {} heads, query has {}; want equal or a divisor{}", k.heads, q.heads,
                            swapped
                                ? fmt::format(" (dimension 1 is {} in both: is the input [B, H, T, D]? want "
                                              "[B, T, H, D]: transpose(x, 1, 2))",
                                              q.length)
                                : ""));
  }
}

// Keys j < i + shift, over all queries i of a sequence: Σ clamp(i + shift, 0, S).
double keys_before(std::int64_t shift, const kernels::SequenceDesc& s) {
  const std::int64_t rising = std::clamp<std::int64_t>(-shift, 0, s.query_count);
  const std::int64_t full = std::clamp<std::int64_t>(s.key_count - shift, rising, s.query_count);
  const auto count = [](std::int64_t n) { return static_cast<double>(n); };
  return count(full - rising) * (count(rising + shift) + count(full - 1 + shift)) / 2 +
         count(s.query_count - full) * count(s.key_count);
}

// Bounds on j for every query i of a sequence, from those by position.
void apply_bounds(const Mask::Bounds& bounds, AttentionCall& call) {
  for (std::size_t b = 0; b < call.sequences.size(); ++b) {
    kernels::SequenceDesc& s = call.sequences[b];
    for (const Mask::Interval& interval : bounds.intervals) {
      const std::int64_t shift = interval.align == Align::bottom_right ? s.key_count - s.query_count : 0;
      s.low = std::max(s.low, shift - interval.left);
      s.high = std::min(s.high, shift + interval.right);
    }
    if (!bounds.lengths.empty()) s.key_count = bounds.lengths[b];
    if (s.high + 1 > s.low) {
      call.visible_pairs +=
          static_cast<double>(call.args.heads) * (keys_before(s.high + 1, s) - keys_before(s.low, s));
    }
  }
}

void apply_mask(const AttentionOptions& options, const HeadsView& q, AttentionCall& call) {
  PlanShape shape{.sequences = {},
                  .heads = q.heads,
                  .longest_queries = call.longest_query,
                  .longest_keys = call.longest_key};
  for (kernels::SequenceDesc& s : call.sequences) {
    s.low = -Mask::unbounded;
    s.high = Mask::unbounded;
    shape.sequences.push_back({s.query_count, s.key_count});
  }
  if (options.plan.defined()) {
    const PlanShape& planned = options.plan.shape();
    if (planned.sequences != shape.sequences || planned.heads != shape.heads || options.mask.node()) {
      const auto words = [](const PlanShape& of) { return of.pairs().str(); };
      fail(ErrorCode::shape, kOperation,
           options.mask.node()
               ? fmt::format("a plan and mask {} are given; want one (a plan holds its mask)",
                             options.mask.str())
               : fmt::format("the plan was made for [B, H, T, S] = {}{}, the call has {}", words(planned),
                             planned.pairs() == shape.pairs() ? " of other lengths" : "", words(shape)));
    }
    call.mask = options.plan.mask();
    call.plan = options.plan;
    call.visible_pairs = call.plan.visible_pairs();
    return;
  }
  options.mask.check(shape);
  const auto bounds = options.mask.bounds();
  if (bounds) return apply_bounds(*bounds, call);
  call.mask = options.mask;
  if (q.tensor.dtype() == DType::float64 || options.mask.hollow()) {  // the oracle asks pair by pair
    apply_bounds({}, call);
    return;
  }
  call.plan = TilePlan(options.mask, std::move(shape));
  call.visible_pairs = call.plan.visible_pairs();
}

// Tabulates a position's biases for the distances that occur: T + S of them, never T·S.
void apply_position(const Position& position, Device device, AttentionCall& call) {
  if (!position.tabulated()) return;
  kernels::AttentionArgs& args = call.args;
  std::int64_t least = 0, most = 0;
  for (const kernels::SequenceDesc& s : call.sequences) {
    least = std::min(least, s.position - s.key_count + 1);
    most = std::max(most, s.position + s.query_count - 1);
  }
  call.distance_count = most - least + 1;
  args.distances.least = least;
  args.distances.head = call.distance_count + kernels::DistanceBias::kPadding;
  const bool hollow = position.table().defined() && position.table().device() == Device::meta;
  const std::vector<double> biases = position.biases(args.heads, least, hollow ? 0 : call.distance_count);
  if (device == Device::meta || hollow) return;
  call.distances = zeros({args.heads, args.distances.head},
                         args.dtype == DType::float64 ? DType::float64 : DType::float32);
  for (std::int64_t h = 0; h < args.heads; ++h) {
    for (std::int64_t d = 0; d < call.distance_count; ++d) {
      const double bias = biases[static_cast<std::size_t>(h * call.distance_count + d)];
      const std::int64_t at = h * args.distances.head + d;
      if (args.dtype == DType::float64) {
        call.distances.data<double>()[at] = bias;
      } else {
        call.distances.data<float>()[at] = static_cast<float>(bias);
      }
    }
  }
}

DType exact_dtype(DType dtype) { return dtype == DType::float64 ? dtype : DType::float32; }

void check_exact(const char* argument, const Tensor& x, DType dtype) {
  if (!x.defined() || x.dtype() == exact_dtype(dtype)) return;
  fail(ErrorCode::dtype, kOperation,
       fmt::format("{} is {} for {} heads; want {}", argument, x.describe(), name_of(dtype),
                   name_of(exact_dtype(dtype))));
}

// Offsets j - p of the pairs that are seen, over all sequences.
TilePlan::Offsets visible_offsets(const AttentionCall& call, const AttentionOptions& options) {
  TilePlan::Offsets out;
  if (call.mask.node() && !call.mask.hollow()) {
    PlanShape shape{.sequences = {}, .heads = call.args.heads};
    for (const kernels::SequenceDesc& s : call.sequences)
      shape.sequences.push_back({s.query_count, s.key_count});
    shape.longest_queries = call.longest_query;
    shape.longest_keys = call.longest_key;
    return (call.plan.defined() ? call.plan : TilePlan(options.mask, std::move(shape))).visible_offsets();
  }
  for (const kernels::SequenceDesc& s : call.sequences) {
    if (s.query_count == 0 || s.key_count == 0) continue;
    out.add(std::max(s.low, 1 - s.query_count) - s.position, std::min(s.high, s.key_count - 1) - s.position);
  }
  return out;
}

// Vectors by offset, Shaw's and Transformer-XL's.
void apply_vectors(const AttentionOptions& options, AttentionCall& call) {
  const Position& position = options.position;
  if (!position.relative()) return;
  kernels::AttentionArgs& args = call.args;
  position.check(args.heads, args.dim, args.value_dim);
  call.key_vectors = position.key_vectors();
  call.value_vectors = position.value_vectors();
  check_exact("position's keys", call.key_vectors.rows, args.dtype);
  check_exact("position's values", call.value_vectors.rows, args.dtype);
  const Position::Vectors& keys = call.key_vectors;
  if (keys.clip < keys.count) return;  // every offset is clipped into the table
  const TilePlan::Offsets seen = visible_offsets(call, options);
  if (seen.least > seen.most || (seen.least >= keys.least && seen.most < keys.least + keys.count)) return;
  fail(ErrorCode::shape, kOperation,
       fmt::format(
           "position {} has vectors for offsets {} to {} (key less query); the pairs that are seen need "
           "{} to {}",
           position.str(), keys.least, keys.least + keys.count - 1, seen.least, seen.most));
}

void apply_modifier(const ScoreModifier& modifier, AttentionCall& call) {
  if (!modifier.defined()) return;
  const Tensor& parameters = modifier.parameters();
  check_exact("modifier's parameters", parameters, call.args.dtype);
  if (parameters.defined() && !parameters.is_contiguous())
    wrong_shape(fmt::format("modifier's parameters are {}; want contiguous", parameters.describe()));
  call.modifier = modifier;
}

}  // namespace

kernels::RelativeRows relative_rows(const Position::Vectors& v) {
  if (!v.rows.defined()) return {};
  return {.data = v.rows.device() == Device::meta ? nullptr : v.rows.raw(),
          .row = v.row,
          .head = v.head,
          .least = v.least,
          .count = v.count,
          .width = v.width,
          .clip = v.clip};
}

HeadsView view_heads(const char* argument, const Tensor& x, bool gaps_allowed) {
  if (!x.defined() || x.rank() < 3 || x.rank() > 4) {
    wrong_shape(fmt::format(
        "{} is {}; want [B, T, H, D], or packed [N, H, D] with offsets{}", argument, x.describe(),
        x.defined() && x.rank() == 2 ? " (attention() takes heads: nn::MultiHeadAttention makes them)" : ""));
  }
  HeadsView view;
  view.packed = x.rank() == 3;
  const bool walkable = x.stride(-1) == 1 || x.size(-1) <= 1;
  // The stride of a dimension of 1 says nothing: single rows lie as far apart as their sequences.
  const bool single = !view.packed && x.size(1) == 1;
  const bool even =
      view.packed || single || x.size(0) <= 1 || (x.stride(1) > 0 && x.stride(0) % x.stride(1) == 0);
  view.tensor = walkable && even ? x : contiguous(x);
  const Tensor& t = view.tensor;
  view.batch = view.packed ? 1 : t.size(0);
  view.length = t.size(-3);
  view.heads = t.size(-2);
  view.dim = t.size(-1);
  view.row = single ? t.stride(0) : t.stride(-3);
  view.head = t.stride(-2);
  view.sequence_rows = view.packed || view.batch <= 1 || view.row == 0 ? view.length : t.stride(0) / view.row;
  // Output and gradients have their sequences one after another, and are indexed by the same rows.
  if (view.tensor.device() != Device::meta && !gaps_allowed && view.batch > 1 &&
      view.sequence_rows != view.length) {
    return view_heads(argument, contiguous(x), true);
  }
  return view;
}

void AttentionCall::bind() {
  args.sequences = sequences;
  args.plan = plan.defined() ? &plan : nullptr;
  args.mask = mask.node() ? &mask : nullptr;
  args.distances.data = distances.defined() ? distances.raw() : nullptr;
  args.modifier = modifier.defined() ? &modifier : nullptr;
  args.relative_keys = relative_rows(key_vectors);
  args.relative_values = relative_rows(value_vectors);
}

AttentionCall lower(const HeadsView& q, const HeadsView& k, const HeadsView& v,
                    const AttentionOptions& options) {
  check_heads(q, k, v);
  AttentionCall call;
  add_sequences(q, k, options, call);
  for (kernels::SequenceDesc& s : call.sequences) {
    s.position = s.key_count - s.query_count;
    call.key_counts.push_back(s.key_count);
    call.longest_query = std::max(call.longest_query, s.query_count);
    call.longest_key = std::max(call.longest_key, q.packed ? s.key_count : k.length);
  }
  const Shape pairs_shape{static_cast<std::int64_t>(call.sequences.size()), q.heads, call.longest_query,
                          call.longest_key};
  const DType dtype = q.tensor.dtype();
  kernels::AttentionArgs& args = call.args;
  args.dtype = dtype;
  args.heads = q.heads;
  args.kv_heads = k.heads;
  args.dim = q.dim;
  args.value_dim = v.dim;
  args.q = q.rows();
  args.k = k.rows();
  args.v = v.rows();
  apply_position(options.position, q.tensor.device(), call);
  apply_mask(options, q, call);
  apply_vectors(options, call);
  apply_modifier(options.modifier, call);
  if (options.softcap < 0 || !std::isfinite(options.softcap)) {
    fail(ErrorCode::value, kOperation,
         fmt::format("softcap is {}; want a positive number, or 0 for none", options.softcap));
  }
  args.softcap = options.softcap;
  args.scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(q.dim)));
  if (options.bias.defined()) {
    const DType wanted = dtype == DType::float64 ? DType::float64 : DType::float32;
    if (options.bias.dtype() != wanted) {
      fail(ErrorCode::dtype, kOperation,
           fmt::format("bias is {}; want {}{}", options.bias.describe(), name_of(wanted),
                       options.bias.dtype() == DType::boolean
                           ? " (a boolean mask goes in as Mask::allow or Mask::deny)"
                           : ""));
    }
    args.bias_strides = broadcast_pairs("bias", options.bias, pairs_shape);
    if (options.bias.device() != Device::meta) args.bias = options.bias.raw();
  }
  if (options.dropout < 0 || options.dropout >= 1 || std::isnan(options.dropout)) {
    fail(ErrorCode::value, kOperation, fmt::format("dropout is {}; want 0 <= p < 1", options.dropout));
  }
  if (options.dropout > 0) {
    if (!options.generator) fail(ErrorCode::value, kOperation, "dropout needs a generator; it is null");
    args.dropout.threshold =
        static_cast<std::uint32_t>(std::min(65535.0, std::round(options.dropout * 65536)));
    args.dropout.call = options.generator->next();
  }
  return call;
}

}  // namespace headway::inline v1::ops
