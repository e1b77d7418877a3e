#include <headway/ops/explain.h>

#include <fmt/format.h>

#include <headway/core/parallel.h>

#include "ops/attention_args.h"
#include "ops/attention_rope.h"

namespace headway::inline v1 {
namespace {

bool single_queries(const ops::AttentionCall& call) {
  for (const kernels::SequenceDesc& s : call.sequences) {
    if (s.query_count != 1) return false;
  }
  return !call.sequences.empty() && call.args.dropout.threshold == 0 && call.key_vectors.count == 0 &&
         !call.modifier.defined();
}

double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

}  // namespace

AttentionExplanation explain_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const AttentionOptions& options) {
  if (options.position.rotates()) return ops::explain_rope(q, k, v, options);
  ops::AttentionCall call =
      ops::lower(ops::view_heads("query", q.detach()), ops::view_heads("key", k.detach(), true),
                 ops::view_heads("value", v.detach(), true), options);
  call.bind();
  kernels::AttentionArgs& args = call.args;
  AttentionExplanation out;
  out.mask = options.plan.defined() ? options.plan.mask().str() : options.mask.str();
  for (const kernels::SequenceDesc& s : call.sequences) {
    out.pairs += static_cast<double>(args.heads) * static_cast<double>(s.query_count) *
                 static_cast<double>(s.key_count);
  }
  out.visible_pairs = call.visible_pairs;
  const auto bytes_of = [](const Tensor& x) {
    return static_cast<double>(x.numel()) * static_cast<double>(size_of(x.dtype()));
  };
  const std::int64_t rows = q.numel() / q.size(-1);
  const auto output = static_cast<double>(rows * v.size(-1));
  out.tensor_bytes =
      bytes_of(q) + bytes_of(k) + bytes_of(v) + output * static_cast<double>(size_of(q.dtype()));

  kernels::TileSummary tiles;
  if (args.dtype == DType::float64) {
    out.path = "reference, pair by pair";
    out.reasons.push_back("float64 is the oracle's type: plain loops, for checking gradients");
    out.computed_pairs = out.visible_pairs;
  } else {
    tiles = kernels::summarize_tiles(args);
    out.isa = tiles.isa;
    out.query_block = tiles.query_block;
    out.key_tile = tiles.key_tile;
    out.full_tiles = tiles.full;
    out.partial_tiles = tiles.partial;
    out.computed_pairs = tiles.computed_pairs;
    out.forward_workspace = static_cast<std::int64_t>(kernels::attention_forward_workspace(args, threads()));
    kernels::AttentionGradArgs backward;
    backward.forward = args;
    out.backward_workspace =
        static_cast<std::int64_t>(kernels::attention_backward_workspace(backward, threads()));
    const std::string walk = call.plan.defined() ? "a tile plan" : "bounds by arithmetic";
    out.path = (single_queries(call) ? "fused, one query, " : "fused, ") + walk;
    if (single_queries(call))
      out.reasons.push_back("every sequence has one query: vectors lie along the head");
    if (options.plan.defined()) {
      out.reasons.push_back("the plan was compiled before");
    } else if (call.plan.defined()) {
      out.reasons.push_back(
          fmt::format("{} is more than causal, window and padding joined by &: it is compiled in "
                      "every call (hold a TilePlan to do it once)",
                      out.mask));
    }
    if (call.plan.defined()) out.plan_bytes = call.plan.bytes();
    if (call.plan.defined() && call.plan.step() > 1) {
      out.reasons.push_back(
          fmt::format("every {}th query and key is gathered into tiles of their own{}", call.plan.step(),
                      call.plan.has_whole_tiles() ? ", which add to what the others have found" : ""));
    }
    if (args.dtype == DType::bfloat16)
      out.reasons.push_back(tiles.pairs ? "bfloat16 is multiplied in pairs and summed in float32"
                                        : "bfloat16 is widened tile by tile and computed in float32");
  }
  if (options.bias.defined()) out.reasons.push_back("a dense bias is read for every pair that is computed");
  if (options.position.relative()) {
    out.reasons.push_back(
        fmt::format("position {} multiplies the vectors of a tile's offsets, {:.4g} rows by queries in all, "
                    "and shears them",
                    options.position.str(), tiles.relative_keys + tiles.relative_values));
  }
  if (options.modifier.defined())
    out.reasons.push_back(
        fmt::format("{} is called for every run of keys in a tile", options.modifier.str()));
  if (options.position.tabulated()) {
    out.reasons.push_back(fmt::format("position {} is tabulated by distance: {} numbers for each head",
                                      options.position.str(), call.distance_count));
  }
  if (options.softcap > 0) out.reasons.push_back("a softcap is a tanh for every pair that is computed");
  if (args.dropout.threshold > 0) out.reasons.push_back("dropout is drawn for every pair that is computed");
  if (options.weights != Weights::none)
    out.reasons.push_back("weights are asked for: an array of T·S, and the scores once more");
  const auto dim = static_cast<double>(args.dim), value_dim = static_cast<double>(args.value_dim);
  // Relative rows: scores and outputs forward; backward the scores, dQ' and dA, and dO·Cᵀ and dC.
  out.forward_operations = 2 * (out.computed_pairs * (dim + value_dim) + tiles.relative_keys * dim +
                                tiles.relative_values * value_dim);
  out.backward_operations = 2 * (out.computed_pairs * (3 * dim + 2 * value_dim) +
                                 3 * tiles.relative_keys * dim + 2 * tiles.relative_values * value_dim);
  return out;
}

std::string AttentionExplanation::str() const {
  std::string text = fmt::format("path      {}\nmask      {}\n", path, mask);
  if (!isa.empty()) {
    text += fmt::format("tiles     {} full and {} partial of {} queries x up to {} keys ({})\n", full_tiles,
                        partial_tiles, query_block, key_tile, isa);
  }
  text +=
      fmt::format("pairs     {:.4g}; {:.4g} visible ({:.3g} %), {:.4g} computed ({:.3g} %)\n", pairs,
                  visible_pairs, share(visible_pairs, pairs), computed_pairs, share(computed_pairs, pairs));
  text += fmt::format("products  {:.4g} GFLOP forward, {:.4g} GFLOP backward\n", forward_operations / 1e9,
                      backward_operations / 1e9);
  text += fmt::format(
      "memory    {:.4g} MiB of tensors, {:.4g} MiB of plan, workspace {:.4g} MiB forward, {:.4g} MiB "
      "backward\n",
      tensor_bytes / 1048576, static_cast<double>(plan_bytes) / 1048576,
      static_cast<double>(forward_workspace) / 1048576, static_cast<double>(backward_workspace) / 1048576);
  for (const std::string& reason : reasons) text += "because   " + reason + "\n";
  return text;
}

}  // namespace headway::inline v1
