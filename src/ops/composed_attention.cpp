#include <headway/ops/composed.h>

#include <limits>
#include <span>

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

// 0 where the pair is seen, `hidden` where not: [H, T, S].
Tensor mask_of(const ops::AttentionCall& call, const SequenceDesc& s, DType dtype,
               double hidden = -std::numeric_limits<double>::infinity()) {
  const std::int64_t heads = call.args.heads;
  const Tensor out = zeros({heads, s.query_count, s.key_count}, DType::float64);
  auto* at = out.data<double>();
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < s.query_count; ++i) {
      for (std::int64_t j = 0; j < s.key_count; ++j, ++at) {
        bool seen = j >= i + s.low && j <= i + s.high;
        seen = seen && call.mask.visible({s.index, h, i, j, s.query_count, s.key_count});
        if (!seen) *at = hidden;
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
    case Activation::gelu_tanh:
      return gelu_tanh(y);
    case Activation::silu:
      return silu(y);
    case Activation::none:
      break;
  }
  return y;
}

namespace {

// Over the last dimension, which becomes 1, of finite scores: log p = s - L for each, so L = Σ p·(s - log p).
Tensor log_sum_exp(const Tensor& scores) {
  const Tensor terms = mul(softmax(scores), add(scores, scale(log_softmax(scores), -1)));
  return matmul(terms, ones({scores.size(-1), 1}, scores.dtype()));
}

// What the two compositions of attention share: a call lowered, with its tensors whole.
struct Composition {
  Tensor query, key, value;
  AttentionOptions options;
  ops::AttentionCall call;
  Tensor group;  // the key/value head of every query head
  DType dtype;

  Composition(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& given)
      : Composition(given.position.rotates() ? turned(q, k, v, given) : Call{q, k, v, given}) {}

  struct Call {
    Tensor q, k, v;
    AttentionOptions options;
  };
  static Call turned(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& given) {
    const ops::RopePositions at = ops::rope_positions(q, k, v, given);
    const auto placed = [&](const Tensor& x, const std::vector<std::int64_t>& positions) {
      const std::vector<std::int32_t> ids(positions.begin(), positions.end());
      const Shape shape = x.rank() == 3 ? Shape{x.size(0)} : Shape{x.size(0), x.size(1)};
      return composed::rotary(x, {.rope = given.position.rope_options(), .position_ids = from(ids, shape)});
    };
    Call out{placed(q, at.queries), placed(k, at.keys), v, given};
    out.options.position = {};
    return out;
  }

  explicit Composition(const Call& c)
      : query(contiguous(c.q)),
        key(contiguous(c.k)),
        value(contiguous(c.v)),
        options(c.options),
        call(ops::lower(ops::view_heads("query", query.detach()), ops::view_heads("key", key.detach()),
                        ops::view_heads("value", value.detach()), options)),
        dtype(detail::compute_dtype(c.q.dtype())) {
    if (options.modifier.defined())
      fail(ErrorCode::unsupported, "composed::attention", "a score modifier is not made of ops");
    std::vector<std::int32_t> of;
    for (std::int64_t h = 0; h < call.args.heads; ++h)
      of.push_back(static_cast<std::int32_t>(h * call.args.kv_heads / call.args.heads));
    group = from(of, {call.args.heads});
  }

  // Rows of keys or values of one sequence, for every query head: [H, S, width].
  Tensor for_heads(const Tensor& x, const SequenceDesc& s) const {
    return gather(cast(heads_first(x, s.key_begin, s.key_count), dtype), group);
  }

  // Scores with their biases, before the mask: [H, T, S].
  Tensor scores(const SequenceDesc& s) const {
    const Position& position = options.position;
    const Tensor raw = cast(heads_first(query, s.query_begin, s.query_count), dtype);
    const Tensor qs = ops::with_head_bias(raw, position.content_bias());
    Tensor out = matmul(qs, transpose(for_heads(key, s), -1, -2));
    if (position.relative()) {
      const Tensor relative = ops::with_head_bias(raw, position.position_bias());
      out = add(out, ops::relative_scores(relative, position.key_vectors(), s));
    }
    out = scale(out, call.args.scale);
    if (options.softcap > 0) out = scale(tanh(scale(out, 1 / options.softcap)), options.softcap);
    if (options.bias.defined()) out = add(out, bias_of(options.bias, s));
    if (position.tabulated()) out = add(out, distance_biases(call, position, s, dtype));
    return out;
  }
};

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const Composition c(q, k, v, options);
  std::vector<Tensor> parts;
  for (const SequenceDesc& s : c.call.sequences) {
    Tensor weights = softmax(add(c.scores(s), mask_of(c.call, s, c.dtype)));
    if (c.call.args.dropout.threshold > 0) weights = mul(weights, kept(c.call, s, c.dtype));
    Tensor sums = matmul(weights, c.for_heads(c.value, s));
    const Position::Vectors vectors = c.options.position.value_vectors();
    if (vectors.rows.defined()) sums = add(sums, ops::relative_values(weights, vectors, s));
    parts.push_back(transpose(sums, 0, 1));
  }
  Shape shape = q.shape();
  shape[-1] = v.size(-1);
  return cast(reshape(concat(parts, 0), shape), q.dtype());
}

Tensor attention_log_sum_exp(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionOptions& options) {
  const Composition c(q, k, v, options);
  std::vector<Tensor> parts;  // [H, T]
  for (const SequenceDesc& s : c.call.sequences) {
    // What is hidden stays finite here, far below everything: its p is 0, and so is its p·(s - log p).
    const Tensor scores = add(c.scores(s), mask_of(c.call, s, c.dtype, -1e30));
    parts.push_back(reshape(log_sum_exp(scores), {c.call.args.heads, s.query_count}));
  }
  const Tensor joined = concat(parts, 1);
  if (q.rank() == 3) return joined;
  return transpose(reshape(joined, {joined.size(0), q.size(0), q.size(1)}), 0, 1);
}

AttentionResult merge_attention(const std::vector<AttentionResult>& parts) {
  const Tensor& first = parts.at(0).output;
  const DType dtype = detail::compute_dtype(first.dtype());
  const bool packed = first.rank() == 3;
  const auto count = static_cast<std::int64_t>(parts.size());
  std::vector<Tensor> columns;  // each log-sum-exp as [B, T, H, 1], packed [N, H, 1]
  for (const AttentionResult& part : parts) {
    const Tensor rows = transpose(part.log_sum_exp, packed ? 0 : 1, packed ? 1 : 2);
    Shape shape = rows.shape();
    shape.push_back(1);
    columns.push_back(reshape(rows, shape));
  }
  const Tensor sums = concat(columns, -1);
  const Tensor weights = softmax(sums);
  const Tensor by_row = log_sum_exp(sums);
  Tensor output;
  for (std::int64_t i = 0; i < count; ++i) {
    const Tensor term =
        mul(cast(parts[static_cast<std::size_t>(i)].output, dtype), slice(weights, -1, i, i + 1));
    output = output.defined() ? add(output, term) : term;
  }
  const Shape rows(std::span(by_row.shape().begin(), by_row.shape().end() - 1));
  return {cast(output, first.dtype()), {}, transpose(reshape(by_row, rows), packed ? 0 : 1, packed ? 1 : 2)};
}

}  // namespace headway::inline v1::composed
