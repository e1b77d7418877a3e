// The weights themselves, recomputed from the log-sum-exp, for those who ask.
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

// Queries [first, first + kQueries) of head h: their weights, times `factor`, are stored or added.
void weights_unit(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t first,
                  float factor, bool add, float* weights, const PairStrides& strides, float* space) {
  const FloatTag f;
  const QueryBlock block(first, s.query_count);
  const std::int64_t dim = round_up(a.dim);
  float* query = space;
  float* row_buffer = query + dim * kQueries;
  float* scores = row_buffer + dim * kQueries;
  float* by_row = scores + kKeys * kQueries;  // [kQueries][kKeys]
  float* key_buffer = by_row + kKeys * kQueries;
  float* lse = key_buffer + kKeys * dim;

  const Rows q = float_rows(a.dtype, a.q, s.query_begin + first, block.count, h, a.dim, row_buffer, a.dim);
  transpose_block(q, block, a.dim, static_cast<float>(a.scale) * kLog2e, query);
  const auto* sums = static_cast<const float*>(a.lse) + h * a.lse_rows + s.query_begin + first;
  for (std::int64_t i = 0; i < kQueries; ++i) {
    lse[i] = i < block.count && sums[i] != -kInfinity ? sums[i] * kLog2e : kInfinity;
  }
  if (!add) {  // what no tile covers is 0
    for (std::int64_t i = 0; i < block.count; ++i) {
      for (std::int64_t j = 0; j < s.key_count; ++j) weights[strides.at(s.index, h, first + i, j)] = 0;
    }
  }
  for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
    const std::int64_t j0 = tile.begin;
    const Rows k = float_rows(a.dtype, a.k, s.key_begin + j0, tile.keys(), h * a.kv_heads / a.heads, a.dim,
                              key_buffer, a.dim);
    for_runs(s, block, tile,
             [&](const Run& run) HWY_ATTR { score_product(k, a.dim, query, run, j0, scores); });
    finish_scores(a, s, h, block, tile, scores);
    for (int c = 0; c < block.vectors; ++c) {
      const Floats base = hn::LoadU(f, lse + c * kLanes);
      for (std::int64_t j = 0; j < tile.keys(); ++j) {
        float* at = scores + j * kQueries + c * kLanes;
        const Floats score = hn::LoadU(f, at);
        hn::StoreU(hn::IfThenZeroElse(hn::Eq(score, hn::Set(f, -kInfinity)), exp2(hn::Sub(score, base))), f,
                   at);
      }
    }
    transpose(scores, kQueries, tile.keys(), block.count, factor, by_row, kKeys);
    for (std::int64_t i = 0; i < block.count; ++i) {
      for (std::int64_t j = 0; j < tile.keys(); ++j)
        weights[strides.at(s.index, h, first + i, j0 + j)] += by_row[i * kKeys + j];
    }
  });
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

void attention_weights(const AttentionArgs& args, float* weights, const PairStrides& strides, bool averaged,
                       void* workspace) {
  const auto units = query_blocks(args, HWY_DYNAMIC_DISPATCH(weights_block)());
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(weights_floats)(args);
  // An average adds the heads of one block in order, within one unit.
  const std::int64_t heads = averaged ? 1 : args.heads;
  core::parallel_for(static_cast<std::int64_t>(units.size()) * heads, [&](std::int64_t unit) {
    const QueryUnit& part = units[static_cast<std::size_t>(unit / heads)];
    float* space = static_cast<float*>(workspace) + core::thread_index() * floats;
    for (std::int64_t h = averaged ? 0 : unit % heads; h < (averaged ? args.heads : unit % heads + 1); ++h) {
      HWY_DYNAMIC_DISPATCH(weights_unit)
      (args, args.sequences[part.sequence], h, part.first,
       averaged ? 1.f / static_cast<float>(args.heads) : 1.f, averaged && h > 0, weights, strides, space);
    }
  });
}
}  // namespace headway::inline v1::kernels
#endif
