#include <headway/ops/attention_onnx.h>

#include <limits>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/ops/views.h>

#include "ops/attention_args.h"
#include "ops/dispatch.h"

namespace headway::inline v1 {
namespace {

constexpr const char* kOperation = "attention_onnx";

[[noreturn]] void wrong_shape(std::string_view message) { fail(ErrorCode::shape, kOperation, message); }

// [B, heads, length, dim] of an input of rank 4 or, with its heads named, of rank 3.
Tensor heads_apart(const char* argument, const Tensor& x, std::int64_t heads, const char* attribute) {
  if (x.rank() == 4) {
    if (heads == 0 || heads == x.size(1)) return x;
    wrong_shape(fmt::format("{} is {}, {} is {}; want dimension 1, or none", argument, x.describe(),
                            attribute, heads));
  }
  if (heads < 1 || x.size(2) % heads != 0) {
    wrong_shape(fmt::format("{} is {}, {} is {}; want the heads of [B, T, heads * head_size]", argument,
                            x.describe(), attribute, heads));
  }
  return transpose(reshape(x, {x.size(0), x.size(1), heads, x.size(2) / heads}), 1, 2);
}

void check_ranks(const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto fits = [&](const Tensor& x) { return x.defined() && x.rank() == q.rank(); };
  if (q.defined() && (q.rank() == 3 || q.rank() == 4) && fits(k) && fits(v)) return;
  wrong_shape(
      fmt::format("q is {}, k {}, v {}; want all [B, heads, T, head_size] or all [B, T, heads * head_size]",
                  q.describe(), k.describe(), v.describe()));
}

// q, k and v are [B, heads, length, dim] here, k and v without what is past.
void check_heads(const Tensor& q, const Tensor& k, const Tensor& v) {
  const bool alike = q.size(0) == k.size(0) && q.size(0) == v.size(0) && k.size(1) == v.size(1) &&
                     k.size(2) == v.size(2) && q.size(3) == k.size(3);
  if (alike && k.size(1) > 0 && q.size(1) > 0 && q.size(1) % k.size(1) == 0) return;
  wrong_shape(
      fmt::format("q is {}, k {}, v {} as [B, heads, length, head_size]; want one B, one head_size of q and "
                  "k, k and v alike but in "
                  "head_size, and heads of q a multiple of theirs",
                  q.shape().str(), k.shape().str(), v.shape().str()));
}

// What was before, then what is new, along the sequence.
Tensor joined(const char* argument, const Tensor& past, const Tensor& x) {
  if (!past.defined()) return x;
  if (past.rank() != 4 || past.dtype() != x.dtype() || past.size(0) != x.size(0) ||
      past.size(1) != x.size(1) || past.size(3) != x.size(3)) {
    wrong_shape(fmt::format("{} is {}; want {} [{}, {}, P, {}]", argument, past.describe(),
                            name_of(x.dtype()), x.size(0), x.size(1), x.size(3)));
  }
  return concat({past, x}, 2);
}

// attn_mask, continued to all keys by what hides the rest.
Tensor for_all_keys(const Tensor& mask, std::int64_t keys) {
  if (mask.rank() < 1 || mask.rank() > 4 || mask.size(-1) > keys) {
    wrong_shape(fmt::format("attn_mask is {}; want it to broadcast to [B, H, T, {}]", mask.describe(), keys));
  }
  if (mask.dtype() != DType::boolean && !is_floating(mask.dtype())) {
    fail(ErrorCode::dtype, kOperation,
         fmt::format("attn_mask is {}; want bool or a floating dtype", mask.describe()));
  }
  if (mask.size(-1) == keys) return mask;
  Shape rest = mask.shape();
  rest[-1] = keys - mask.size(-1);
  const double hidden = mask.dtype() == DType::boolean ? 0 : -std::numeric_limits<double>::infinity();
  return concat({mask, full(rest, hidden, mask.dtype(), mask.device())}, -1);
}

AttentionOptions lowered(const Tensor& q, const Tensor& k, const OnnxAttentionOptions& options) {
  AttentionOptions out;
  out.scale = options.scale;
  out.softcap = options.softcap;
  out.key_lengths = options.nonpad_kv_seqlen;
  if (options.is_causal) {
    const std::int64_t past = options.past_key.defined() ? options.past_key.size(2) : 0;
    // The last key that exists is the last query's; else the cache's length says where queries begin.
    out.mask =
        out.key_lengths.empty() ? Mask::window(Mask::unbounded, past, Align::top_left) : Mask::causal();
  }
  if (!options.attn_mask.defined()) return out;
  const Tensor mask = for_all_keys(options.attn_mask, k.size(2));
  broadcast_pairs("attn_mask", mask, {q.size(0), q.size(1), q.size(2), k.size(2)});
  if (mask.dtype() == DType::boolean) {
    out.mask = out.mask & Mask::allow(mask);
  } else {
    out.bias = cast(mask, detail::compute_dtype(q.dtype()));
  }
  return out;
}

// Q·Kᵀ·scale of every pair, padding among them.
Tensor scores_of_all(const Tensor& q, const Tensor& k, const Tensor& v, const OnnxAttentionOptions& options,
                     Scores stage) {
  const ops::HeadsView query = ops::view_heads("query", q.detach()), key = ops::view_heads("key", k.detach()),
                       value = ops::view_heads("value", v.detach());
  ops::AttentionCall call =
      ops::lower(query, key, value, {.scale = options.scale, .softcap = options.softcap});
  call.bind();
  return ops::attention_scores(call, Weights::per_head, stage, detail::device_of({q, k, v}));
}

}  // namespace

OnnxAttentionResult attention_onnx(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const OnnxAttentionOptions& options) {
  check_ranks(q, k, v);
  const Tensor queries = heads_apart("q", q, options.q_num_heads, "q_num_heads");
  const Tensor new_keys = heads_apart("k", k, options.kv_num_heads, "kv_num_heads");
  const Tensor new_values = heads_apart("v", v, options.kv_num_heads, "kv_num_heads");
  check_heads(queries, new_keys, new_values);
  const bool cached_outside = !options.nonpad_kv_seqlen.empty();
  if (options.past_key.defined() != options.past_value.defined() ||
      (cached_outside && options.past_key.defined())) {
    fail(ErrorCode::value, kOperation,
         fmt::format("past_key is {}, past_value {}, nonpad_kv_seqlen {}; want both of the first, or the "
                     "third, or none",
                     options.past_key.describe(), options.past_value.describe(),
                     cached_outside ? "given" : "empty"));
  }
  const Tensor keys = joined("past_key", options.past_key, new_keys);
  const Tensor values = joined("past_value", options.past_value, new_values);
  if (keys.size(2) != values.size(2)) {
    wrong_shape(fmt::format("past_key is {}, past_value {}; want one length", options.past_key.describe(),
                            options.past_value.describe()));
  }

  AttentionOptions call = lowered(queries, keys, options);
  const auto mode = options.qk_matmul_output_mode;
  const bool all_pairs = mode == Scores::raw || mode == Scores::capped;
  if (mode && !all_pairs) {
    call.weights = Weights::per_head;
    call.stage = *mode;
  }
  const Tensor by_row[] = {transpose(queries, 1, 2), transpose(keys, 1, 2), transpose(values, 1, 2)};
  const AttentionResult attended = attention(by_row[0], by_row[1], by_row[2], call);

  OnnxAttentionResult out;
  const Tensor& y = attended.output;  // [B, T, H, Dv]
  out.y = q.rank() == 3 ? reshape(y, {y.size(0), y.size(1), y.size(2) * y.size(3)})
                        : contiguous(transpose(y, 1, 2));
  if (!cached_outside) {
    out.present_key = contiguous(keys);
    out.present_value = contiguous(values);
  }
  if (mode) {
    out.qk_matmul_output =
        cast(all_pairs ? scores_of_all(by_row[0], by_row[1], by_row[2], options, *mode) : attended.weights,
             q.dtype());
  }
  return out;
}

}  // namespace headway::inline v1
