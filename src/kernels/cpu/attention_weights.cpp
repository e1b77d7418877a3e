// The weights themselves, recomputed from the log-sum-exp, or the scores before them, for those who ask.
#include <headway/kernels/attention.h>

#include <cmath>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_weights.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_relative-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

std::int64_t weights_floats(const AttentionArgs& a) {
  const std::int64_t dim = round_up(a.dim);
  return 3 * dim * kQueries + 2 * kKeys * kQueries + kKeys * dim + kQueries + RelativeSpace(a).total();
}
std::int64_t weights_block() { return kQueries; }

// exp(score - lse), 0 where hidden, in place of the scores of a tile; `lse` is [kQueries].
void weights_of_scores(const QueryBlock& block, const Tile& tile, const float* lse, float* scores) {
  const FloatTag f;
  for_scores(block, tile, scores, [&](float* at, std::int64_t, int v) HWY_ATTR {
    const Floats score = hn::LoadU(f, at);
    const auto hidden = hn::Eq(score, hn::Set(f, -kInfinity));
    hn::StoreU(hn::IfThenZeroElse(hidden, exp2(hn::Sub(score, hn::LoadU(f, lse + v * kLanes)))), f, at);
  });
}

// Where nothing has been computed, all is hidden.
void hide_rest(const QueryBlock& block, const Tile& tile, float hidden, float* scores) {
  for (int group = 0; group * kGroupVectors < block.vectors; ++group) {
    for (std::int64_t j = tile.begin; j < tile.end; ++j) {
      if (j >= tile.seen[group].begin && j < tile.seen[group].end) continue;
      float* at = scores + (j - tile.begin) * kQueries + group * kRunQueries;
      std::fill(at, at + kRunQueries, hidden);
    }
  }
}

// Queries [first, first + kQueries) of head h of a sequence or class: their weights or scores, times
// `factor`, go where they are seen, and are added where `to` wants sums.
void add_block(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t first,
               float factor, const PairOutput& to, float* space) {
  const QueryBlock block(first, s.query_count);
  const std::int64_t dim = round_up(a.dim);
  float* query = space;
  float* relative_query = query + dim * kQueries;
  float* row_buffer = relative_query + dim * kQueries;
  float* scores = row_buffer + dim * kQueries;
  float* by_row = scores + kKeys * kQueries;  // [kQueries][kKeys]
  float* key_buffer = by_row + kKeys * kQueries;
  float* lse = key_buffer + kKeys * dim;
  const RelativeBuffers buffers(RelativeSpace(a), lse + kQueries);
  const bool weights = to.value == PairValue::weight;

  load_query(a, s, h, block, a.q, row_buffer, query);
  if (a.relative_keys.data) load_query(a, s, h, block, a.relative_query, row_buffer, relative_query);
  if (weights) load_lse(a, s, h, block, lse);
  for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
    const Rows k = float_rows(a.dtype, a.k, keys_of(s, tile.begin, tile.keys()), h * a.kv_heads / a.heads,
                              a.dim, key_buffer, a.dim);
    score_tile(a, s, h, block, tile, {k, query, relative_query}, buffers, scores);
    if (weights) weights_of_scores(block, tile, lse, scores);
    hide_rest(block, tile, weights ? 0.f : -kInfinity, scores);
    // Scores are in units of log 2.
    transpose(scores, kQueries, tile.keys(), block.count, weights ? factor : factor * kLn2, by_row, kKeys);
    for (std::int64_t i = 0; i < block.count; ++i) {
      for (std::int64_t j = 0; j < tile.keys(); ++j) {
        const float value = by_row[i * kKeys + j];
        float& at = static_cast<float*>(to.data)[to.strides.at(
            s.index, to.averaged ? 0 : h, s.query_at(first + i), s.key_at(tile.begin + j))];
        if (weights || to.averaged) {
          at += value;
        } else if (value != -kInfinity) {
          at = value;
        }
      }
    }
  });
}

// Queries [first, first + kQueries) of a sequence: what no tile covers.
void clear_rows(const SequenceDesc& s, std::int64_t h, std::int64_t first, const PairOutput& to) {
  const float hidden = to.value == PairValue::weight || to.averaged ? 0.f : -kInfinity;
  for (std::int64_t i = first; i < std::min(first + kQueries, s.query_count); ++i) {
    for (std::int64_t j = 0; j < s.key_count; ++j)
      static_cast<float*>(to.data)[to.strides.at(s.index, to.averaged ? 0 : h, i, j)] = hidden;
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(weights_floats);
HWY_EXPORT(weights_block);
HWY_EXPORT(add_block);
HWY_EXPORT(clear_rows);
}  // namespace

std::size_t attention_weights_workspace(const AttentionArgs& args, int threads) {
  return static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(weights_floats)(args) * threads) * sizeof(float);
}

void attention_weights(const AttentionArgs& args, const PairOutput& out, void* workspace) {
  const std::int64_t block = HWY_DYNAMIC_DISPATCH(weights_block)();
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(weights_floats)(args);
  // An average adds the heads of one block in order, within one unit.
  const std::int64_t heads = out.averaged ? 1 : args.heads;
  const float factor = out.averaged ? 1.f / static_cast<float>(args.heads) : 1.f;
  const auto each = [&](const std::vector<QueryUnit>& units, const auto& visit) {
    core::parallel_for(static_cast<std::int64_t>(units.size()) * heads, [&](std::int64_t unit) {
      visit(units[static_cast<std::size_t>(unit / heads)], unit % heads);
    });
  };
  const auto add = [&](const QueryUnit& unit, std::int64_t head) {
    float* space = static_cast<float*>(workspace) + core::thread_index() * floats;
    for (std::int64_t h = head; h < (out.averaged ? args.heads : head + 1); ++h)
      HWY_DYNAMIC_DISPATCH(add_block)(args, unit.sequence, h, unit.first, factor, out, space);
  };
  each(query_blocks(args, block), [&](const QueryUnit& unit, std::int64_t head) {
    HWY_DYNAMIC_DISPATCH(clear_rows)(unit.sequence, head, unit.first, out);
    if (has_whole_tiles(args)) add(unit, head);
  });
  each(class_blocks(args, block), add);
}
}  // namespace headway::inline v1::kernels
#endif
