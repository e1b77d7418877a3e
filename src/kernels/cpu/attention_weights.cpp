// The weights themselves, recomputed from the log-sum-exp, or the scores before them, for those who ask.
#include <headway/kernels/attention.h>

#include <cmath>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_weights.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

std::int64_t weights_floats(const AttentionArgs& a) {
  const std::int64_t dim = round_up(a.dim);
  return 2 * dim * kQueries + 2 * kKeys * kQueries + kKeys * dim + kQueries;
}
std::int64_t weights_block() { return kQueries; }

// exp(score - lse), 0 where hidden, in place of the scores of a tile; `lse` is [kQueries].
void weights_of_scores(const QueryBlock& block, const Tile& tile, const float* lse, float* scores) {
  const FloatTag f;
  for (int c = 0; c < block.vectors; ++c) {
    const Floats base = hn::LoadU(f, lse + c * kLanes);
    for (std::int64_t j = 0; j < tile.keys(); ++j) {
      float* at = scores + j * kQueries + c * kLanes;
      const Floats score = hn::LoadU(f, at);
      hn::StoreU(hn::IfThenZeroElse(hn::Eq(score, hn::Set(f, -kInfinity)), exp2(hn::Sub(score, base))), f,
                 at);
    }
  }
}

// Queries [first, first + kQueries) of head h: their weights or scores, times `factor`, are stored or added.
void weights_unit(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t first,
                  float factor, bool add, const PairOutput& to, float* space) {
  const QueryBlock block(first, s.query_count);
  const std::int64_t dim = round_up(a.dim);
  float* query = space;
  float* row_buffer = query + dim * kQueries;
  float* scores = row_buffer + dim * kQueries;
  float* by_row = scores + kKeys * kQueries;  // [kQueries][kKeys]
  float* key_buffer = by_row + kKeys * kQueries;
  float* lse = key_buffer + kKeys * dim;
  const bool weights = to.value == PairValue::weight;

  const Rows q = float_rows(a.dtype, a.q, s.query_begin + first, block.count, h, a.dim, row_buffer, a.dim);
  transpose_block(q, block, a.dim, static_cast<float>(a.scale) * kLog2e, query);
  for (std::int64_t i = 0; weights && i < kQueries; ++i) {
    const auto* sums = static_cast<const float*>(a.lse) + h * a.lse_rows + s.query_begin + first;
    lse[i] = i < block.count && sums[i] != -kInfinity ? sums[i] * kLog2e : kInfinity;
  }
  const auto put = [&](std::int64_t i, std::int64_t j, float value) {
    float& at = static_cast<float*>(to.data)[to.strides.at(s.index, to.averaged ? 0 : h, first + i, j)];
    at = add ? at + value : value;
  };
  // Keys that no tile covers are hidden from the whole block.
  const auto skip = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < block.count; ++i) {
      for (std::int64_t j = begin; j < end; ++j) put(i, j, weights ? 0.f : -kInfinity);
    }
  };
  std::int64_t covered = 0;
  for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
    const std::int64_t j0 = tile.begin;
    skip(covered, j0);
    covered = tile.end;
    const Rows k = float_rows(a.dtype, a.k, s.key_begin + j0, tile.keys(), h * a.kv_heads / a.heads, a.dim,
                              key_buffer, a.dim);
    for_runs(s, block, tile,
             [&](const Run& run) HWY_ATTR { score_product(k, a.dim, query, run, j0, scores); });
    finish_scores(a, s, h, block, tile, scores);
    if (weights) weights_of_scores(block, tile, lse, scores);
    // Scores are in units of log 2.
    transpose(scores, kQueries, tile.keys(), block.count, weights ? factor : factor * kLn2, by_row, kKeys);
    for (std::int64_t i = 0; i < block.count; ++i) {
      for (std::int64_t j = 0; j < tile.keys(); ++j) put(i, j0 + j, by_row[i * kKeys + j]);
    }
  });
  skip(covered, s.key_count);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(weights_floats);
HWY_EXPORT(weights_block);
HWY_EXPORT(weights_unit);
}  // namespace

std::size_t attention_weights_workspace(const AttentionArgs& args, int threads) {
  return static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(weights_floats)(args) * threads) * sizeof(float);
}

void attention_weights(const AttentionArgs& args, const PairOutput& out, void* workspace) {
  const auto units = query_blocks(args, HWY_DYNAMIC_DISPATCH(weights_block)());
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(weights_floats)(args);
  // An average adds the heads of one block in order, within one unit.
  const std::int64_t heads = out.averaged ? 1 : args.heads;
  core::parallel_for(static_cast<std::int64_t>(units.size()) * heads, [&](std::int64_t unit) {
    const QueryUnit& part = units[static_cast<std::size_t>(unit / heads)];
    float* space = static_cast<float*>(workspace) + core::thread_index() * floats;
    const std::int64_t first = out.averaged ? 0 : unit % heads;
    for (std::int64_t h = first; h < (out.averaged ? args.heads : first + 1); ++h) {
      HWY_DYNAMIC_DISPATCH(weights_unit)
      (args, args.sequences[part.sequence], h, part.first,
       out.averaged ? 1.f / static_cast<float>(args.heads) : 1.f, h > first, out, space);
    }
  });
}
}  // namespace headway::inline v1::kernels
#endif
