#include "ops/attention_rope.h"

#include <algorithm>

#include <fmt/format.h>

#include <headway/kernels/rotary.h>
#include <headway/ops/views.h>

#include "ops/attention_args.h"
#include "ops/rotary_rows.h"

namespace headway::inline v1::ops {
namespace {

AttentionOptions without_position(const AttentionOptions& options) {
  AttentionOptions rest = options;
  rest.position = {};
  return rest;
}

// Columns of a slab [..., heads·dim] as heads, on the tape.
Tensor as_heads(const Tensor& columns, std::int64_t heads, std::int64_t dim) {
  Shape shape;
  for (int d = 0; d + 1 < columns.rank(); ++d) shape.push_back(columns.size(d));
  shape.push_back(heads);
  shape.push_back(dim);
  return reshape(columns, shape);
}

}  // namespace

RopePositions rope_positions(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionOptions& options) {
  // What says where a sequence begins and ends, without the rest: masks and dropout are the call's business.
  AttentionOptions lengths;
  lengths.query_offsets = options.query_offsets;
  lengths.key_offsets = options.key_offsets;
  lengths.key_lengths = options.key_lengths;
  const AttentionCall call = lower(view_heads("query", q.detach(), true), view_heads("key", k.detach(), true),
                                   view_heads("value", v.detach(), true), lengths);
  RopePositions at;
  for (const kernels::SequenceDesc& s : call.sequences) {
    for (std::int64_t i = 0; i < s.query_count; ++i) at.queries.push_back(s.position + i);
    const std::int64_t keys = k.rank() == 4 ? k.size(1) : s.key_count;
    for (std::int64_t j = 0; j < keys; ++j) at.keys.push_back(j);
  }
  return at;
}

AttentionResult attention_rope(const Tensor& q, const Tensor& k, const Tensor& v,
                               const AttentionOptions& options) {
  RopePositions at = rope_positions(q, k, v, options);
  const RopeOptions& rope = options.position.rope_options();
  rope.rotated("attention", q.size(-1));
  const std::vector<Tensor> turned = rotate(rope, {{q, std::move(at.queries)}, {k, std::move(at.keys)}});
  return attention(turned[0], turned[1], v, without_position(options));
}

AttentionResult attention_of_parts(const std::vector<Tensor>& slabs, const HeadsLayout& l,
                                   const AttentionOptions& options) {
  const std::int64_t q = l.heads * l.head_dim, k = l.kv_heads * l.head_dim, v = l.kv_heads * l.value_head_dim;
  std::vector<Tensor> parts =
      split(slabs.back(), slabs.size() == 1 ? std::vector{q, k, v} : std::vector{k, v}, -1);
  if (slabs.size() == 2) parts.insert(parts.begin(), slabs[0]);
  return attention(as_heads(parts[0], l.heads, l.head_dim), as_heads(parts[1], l.kv_heads, l.head_dim),
                   as_heads(parts[2], l.kv_heads, l.value_head_dim), options);
}

AttentionExplanation explain_rope(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const AttentionOptions& options) {
  AttentionExplanation out = explain_attention(q, k, v, without_position(options));
  const RopeOptions& rope = options.position.rope_options();
  const std::int64_t dims = rope.rotated("attention", q.size(-1));
  const RopePositions at = rope_positions(q, k, v, options);
  std::int64_t least = 0, most = -1;
  for (const auto* positions : {&at.queries, &at.keys}) {
    for (const std::int64_t position : *positions) {
      least = std::min(least, position);
      most = std::max(most, position);
    }
  }
  const auto copied = static_cast<double>(q.numel() + k.numel()) * static_cast<double>(size_of(q.dtype()));
  out.path = "rotary on query and key, then " + out.path;
  out.reasons.insert(
      out.reasons.begin(),
      fmt::format(
          "{} rotates query and key first, {} of {} columns of each head: into copies of {:.4g} MiB, "
          "from a table of {} positions ({:.4g} MiB)",
          rope.str(), dims, q.size(-1), copied / 1048576, most - least + 1,
          static_cast<double>((most - least + 1) * kernels::rotary_line(rope.pairs, dims)) * 4 / 1048576));
  return out;
}

}  // namespace headway::inline v1::ops
