// The array of T·S numbers that Weights and Scores ask for.
#include <limits>

#include <headway/core/allocator.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>

#include "ops/attention_args.h"

namespace headway::inline v1::ops {
namespace {

// What is left of a call where nothing is hidden and nothing added: its scores are those of every pair.
AttentionCall bare(const AttentionCall& call, bool capped) {
  AttentionCall out;
  out.args = call.args;
  out.sequences = call.sequences;
  for (std::size_t b = 0; b < out.sequences.size(); ++b) {
    out.sequences[b].key_count = call.key_counts[b];
    out.sequences[b].low = -Mask::unbounded;
    out.sequences[b].high = Mask::unbounded;
  }
  out.key_vectors = call.key_vectors;
  out.args.bias = nullptr;
  if (!capped) out.args.softcap = 0;
  out.bind();
  return out;
}

// [B, H, T, S] -> [B, T, S]
Tensor mean_over_heads(const Tensor& x) {
  const Tensor out = Tensor::empty({x.size(0), x.size(2), x.size(3)}, x.dtype(), x.device());
  if (x.device() == Device::meta) return out;
  const std::int64_t heads = x.size(1), map = x.size(2) * x.size(3);
  const auto average = [&](const auto* in, auto* to) {
    for (std::int64_t i = 0; i < out.numel(); ++i) {
      const auto* at = in + i / map * heads * map + i % map;
      to[i] = 0;
      for (std::int64_t h = 0; h < heads; ++h)
        to[i] += at[h * map] / static_cast<std::decay_t<decltype(*to)>>(heads);
    }
  };
  if (x.dtype() == DType::float64) {
    average(x.data<double>(), out.data<double>());
  } else {
    average(x.data<float>(), out.data<float>());
  }
  return out;
}

}  // namespace

Tensor attention_scores(const AttentionCall& call, Weights kind, Scores stage, Device device) {
  // What one head hides is hidden in the mean: the kernel, which visits what is seen, sums no such heads.
  if (kind == Weights::averaged && stage == Scores::masked)
    return mean_over_heads(attention_scores(call, Weights::per_head, stage, device));
  kernels::PairOutput out;
  out.averaged = kind == Weights::averaged;
  out.value = stage == Scores::softmaxed ? kernels::PairValue::weight : kernels::PairValue::score;
  const auto batch = static_cast<std::int64_t>(call.sequences.size());
  const Shape shape = out.averaged ? Shape{batch, call.longest_query, call.longest_key}
                                   : Shape{batch, call.args.heads, call.longest_query, call.longest_key};
  const std::int64_t map = call.longest_query * call.longest_key;
  out.strides = {out.averaged ? map : call.args.heads * map, out.averaged ? 0 : map, call.longest_key, 1};
  const bool wide = call.args.dtype == DType::float64;
  const double beyond = stage == Scores::masked ? -std::numeric_limits<double>::infinity() : 0;
  const DType dtype = wide ? DType::float64 : DType::float32;
  if (device == Device::meta) return Tensor::empty(shape, dtype, device);
  const Tensor result = full(shape, beyond, dtype);
  if (result.numel() == 0) return result;
  out.data = result.raw();
  const bool all_pairs = stage == Scores::raw || stage == Scores::capped;
  const AttentionCall stripped = all_pairs ? bare(call, stage == Scores::capped) : AttentionCall();
  const kernels::AttentionArgs& args = all_pairs ? stripped.args : call.args;
  if (wide) {
    kernels::reference::attention_weights(args, out);
  } else {
    const core::Workspace workspace(kernels::attention_weights_workspace(args, threads()));
    kernels::attention_weights(args, out, workspace.as<void>());
  }
  return result;
}

}  // namespace headway::inline v1::ops
