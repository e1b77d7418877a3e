#include <headway/ops/composed.h>

#include <limits>

#include <headway/core/factory.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/softmax.h>
#include <headway/ops/views.h>

#include "ops/attention_args.h"
#include "ops/attention_rope.h"
#include "ops/composed_relative.h"
#include "ops/dispatch.h"

namespace headway::inline v1::composed {
namespace {

using kernels::SequenceDesc;

// Rows [begin, begin + count) of packed or padded heads [.., heads, dim] -> [heads, count, dim].
Tensor heads_first(const Tensor& x, std::int64_t begin, std::int64_t count) {
  const Tensor rows = x.rank() == 4 ? reshape(x, {x.size(0) * x.size(1), x.size(2), x.size(3)}) : x;
  return transpose(slice(rows, 0, begin, begin + count), 0, 1);
}

// 0 where the pair is seen, -inf where not: [H, T, S].
Tensor mask_of(const ops::AttentionCall& call, const SequenceDesc& s, DType dtype) {
  const std::int64_t heads = call.args.heads;
  const Tensor out = zeros({heads, s.query_count, s.key_count}, DType::float64);
  auto* at = out.data<double>();
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < s.query_count; ++i) {
      for (std::int64_t j = 0; j < s.key_count; ++j, ++at) {
        bool seen = j >= i + s.low && j <= i + s.high;
        seen = seen && call.mask.visible({s.index, h, i, j, s.query_count, s.key_count});
        if (!seen) *at = -std::numeric_limits<double>::infinity();
      }
    }
  }
  return cast(out, dtype);
}

// What the fused kernel multiplies weights with: 0, or 1/(1 - p). See kernels::WeightDropout.
Tensor kept(const ops::AttentionCall& call, const SequenceDesc& s, DType dtype) {
  const kernels::WeightDropout& drop = call.args.dropout;
  const Tensor out = zeros({call.args.heads, s.query_count, s.key_count}, DType::float64);
  auto* at = out.data<double>();
  for (std::int64_t h = 0; h < call.args.heads; ++h) {
    for (std::int64_t i = 0; i < s.query_count; ++i) {
      for (std::int64_t j = 0; j < s.key_count; ++j, ++at) {
        const auto words =
            drop.call.words(static_cast<std::uint64_t>(i) | static_cast<std::uint64_t>(j / 8) << 32,
                            static_cast<std::uint32_t>(s.index * call.args.heads + h));
        const std::uint32_t bits = words[static_cast<std::size_t>(j % 8 / 2)] >> (j % 2 * 16) & 0xffffu;
        *at = bits < drop.threshold ? 0 : drop.keep_scale();
      }
    }
  }
  return cast(out, dtype);
}

// The part of a bias broadcast to [B, H, T, S] that one sequence adds, broadcasting to [H, T, S].
Tensor bias_of(const Tensor& bias, const SequenceDesc& s) {
  Tensor part = bias;
  if (part.rank() == 4) {
    const std::int64_t b = part.size(0) == 1 ? 0 : s.index;
    part = slice(part, 0, b, b + 1);
    part = reshape(part, {part.size(1), part.size(2), part.size(3)});
  }
  if (part.rank() >= 2 && part.size(-2) > 1) part = slice(part, -2, 0, s.query_count);
  if (part.rank() >= 1 && part.size(-1) > 1) part = slice(part, -1, 0, s.key_count);
  return part;
}

// What the distances of one sequence add, [H, T, S]: T5's from its table by gather, so that gradients reach
// it.
Tensor distance_biases(const ops::AttentionCall& call, const Position& position, const SequenceDesc& s,
                       DType dtype) {
  const std::int64_t heads = call.args.heads;
  std::vector<std::int32_t> distances;
  for (std::int64_t i = 0; i < s.query_count; ++i) {
    for (std::int64_t j = 0; j < s.key_count; ++j)
      distances.push_back(static_cast<std::int32_t>(i + s.position - j - call.args.distances.least));
  }
  Tensor table;  // [distances, H]
  if (position.table().defined()) {
    std::vector<std::int32_t> buckets;
    for (std::int64_t d = 0; d < call.distance_count; ++d)
      buckets.push_back(static_cast<std::int32_t>(position.bucket(call.args.distances.least + d)));
    table = gather(position.table(), from(buckets, {call.distance_count}));
  } else {
    table = transpose(slice(call.distances, 1, 0, call.distance_count), 0, 1);
  }
  const Tensor rows = gather(contiguous(table), from(distances, {s.query_count * s.key_count}));
  return cast(reshape(transpose(rows, 0, 1), {heads, s.query_count, s.key_count}), dtype);
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, LinearOptions options) {
  const DType dtype = detail::compute_dtype(x.dtype());
  Shape flat{x.numel() / x.size(-1), x.size(-1)};
  Tensor y = matmul(cast(reshape(x, flat), dtype), transpose(cast(weight, dtype), 0, 1));
  if (bias.defined()) y = add(y, cast(bias, dtype));
  Shape shape = x.shape();
  shape[-1] = weight.size(0);
  y = cast(reshape(y, shape), options.widen ? DType::float32 : x.dtype());
  switch (options.activation) {
    case Activation::relu:
      return relu(y);
    case Activation::gelu:
      return gelu(y);
    case Activation::silu:
      return silu(y);
    case Activation::none:
      break;
  }
  return y;
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  if (options.position.rotates()) {
    const ops::RopePositions at = ops::rope_positions(q, k, v, options);
    const auto placed = [&](const Tensor& x, const std::vector<std::int64_t>& positions) {
      const std::vector<std::int32_t> ids(positions.begin(), positions.end());
      const Shape shape = x.rank() == 3 ? Shape{x.size(0)} : Shape{x.size(0), x.size(1)};
      return composed::rotary(x, {.rope = options.position.rope_options(), .position_ids = from(ids, shape)});
    };
    AttentionOptions rest = options;
    rest.position = {};
    return composed::attention(placed(q, at.queries), placed(k, at.keys), v, rest);
  }
  const DType dtype = detail::compute_dtype(q.dtype());
  const Tensor query = contiguous(q), key = contiguous(k), value = contiguous(v);
  const ops::AttentionCall call =
      ops::lower(ops::view_heads("query", query.detach()), ops::view_heads("key", key.detach()),
                 ops::view_heads("value", value.detach()), options);
  std::vector<std::int32_t> group;
  for (std::int64_t h = 0; h < call.args.heads; ++h)
    group.push_back(static_cast<std::int32_t>(h * call.args.kv_heads / call.args.heads));
  const Tensor index = from(group, {call.args.heads});
  if (options.modifier.defined())
    fail(ErrorCode::unsupported, "composed::attention", "a score modifier is not made of ops");
  const Position& position = options.position;
  std::vector<Tensor> parts;
  for (const SequenceDesc& s : call.sequences) {
    const Tensor raw = cast(heads_first(query, s.query_begin, s.query_count), dtype);
    const Tensor qs = ops::with_head_bias(raw, position.content_bias());
    const Tensor ks = gather(cast(heads_first(key, s.key_begin, s.key_count), dtype), index);
    const Tensor vs = gather(cast(heads_first(value, s.key_begin, s.key_count), dtype), index);
    Tensor scores = matmul(qs, transpose(ks, -1, -2));
    if (position.relative()) {
      const Tensor relative = ops::with_head_bias(raw, position.position_bias());
      scores = add(scores, ops::relative_scores(relative, position.key_vectors(), s));
    }
    scores = scale(scores, call.args.scale);
    if (options.softcap > 0) scores = scale(tanh(scale(scores, 1 / options.softcap)), options.softcap);
    if (options.bias.defined()) scores = add(scores, bias_of(options.bias, s));
    if (position.tabulated()) scores = add(scores, distance_biases(call, position, s, dtype));
    Tensor weights = softmax(add(scores, mask_of(call, s, dtype)));
    if (call.args.dropout.threshold > 0) weights = mul(weights, kept(call, s, dtype));
    Tensor sums = matmul(weights, vs);
    if (position.value_vectors().rows.defined())
      sums = add(sums, ops::relative_values(weights, position.value_vectors(), s));
    parts.push_back(transpose(sums, 0, 1));
  }
  const Tensor joined = concat(parts, 0);
  Shape shape = q.shape();
  shape[-1] = v.size(-1);
  return cast(reshape(joined, shape), q.dtype());
}

}  // namespace headway::inline v1::composed
