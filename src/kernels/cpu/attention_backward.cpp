// One pass over the tiles gives dQ, dK and dV; probabilities are recomputed from the log-sum-exp (Dao et al.
// 2022, algorithm 4). A unit is (sequence, key/value head, range of keys); it keeps its own sums, and ranges
// are added in order.
#include <headway/kernels/attention.h>

#include <cmath>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_ranges.h"
#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// float32 workspace of one thread. `queries` is the longest query count, rounded up to whole blocks; `keys`
// is how many keys dK and dV are kept for: one tile, or all of them while a group of query heads, or a plan
// that is walked by queries, adds to them.
struct BackwardSpace {
  std::int64_t dim, value_dim, queries, keys;
  bool all_keys;
  explicit BackwardSpace(const AttentionArgs& a)
      : dim(round_up(a.dim)),
        value_dim(round_up(a.value_dim)),
        queries(0),
        keys(kKeys),
        all_keys(a.heads > a.kv_heads || a.plan) {
    for (const SequenceDesc& s : a.sequences) {
      queries = std::max(queries, s.query_count);
      if (all_keys) keys = std::max(keys, s.key_count + kKeys);
    }
    queries = (queries + kQueries - 1) / kQueries * kQueries;
  }
  // Q and dO, each by rows and transposed, and dQ transposed.
  std::int64_t per_query() const { return 3 * dim + 2 * value_dim + 2; }
  std::int64_t buffers() const { return kKeys * (dim + value_dim); }
  std::int64_t sums() const { return keys * (dim + value_dim); }
  std::int64_t tiles() const { return 3 * kKeys * kQueries; }
  std::int64_t total() const { return queries * per_query() + buffers() + sums() + tiles(); }
};

std::int64_t backward_floats(const AttentionArgs& a) { return BackwardSpace(a).total(); }

// The queries of one head, made ready for all their tiles. Blocks follow one another; within a transposed
// block row d is kQueries wide.
struct Prepared {
  float *query, *query_rows, *d_out, *d_out_rows, *d_query, *lse, *delta;
  Rows q, g;  // Q and dO by rows: in place, or query_rows and d_out_rows
};

Prepared lay_out(const BackwardSpace& sizes, float* space) {
  Prepared p;
  p.query = space;
  p.query_rows = p.query + sizes.queries * sizes.dim;
  p.d_query = p.query_rows + sizes.queries * sizes.dim;
  p.d_out = p.d_query + sizes.queries * sizes.dim;
  p.d_out_rows = p.d_out + sizes.queries * sizes.value_dim;
  p.lse = p.d_out_rows + sizes.queries * sizes.value_dim;
  p.delta = p.lse + sizes.queries;
  return p;
}

void prepare(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h, std::int64_t first,
             std::int64_t last, const BackwardSpace& sizes, Prepared& p) {
  const AttentionArgs& a = args.forward;
  p.q = float_rows(a.dtype, a.q, s.query_begin + first, last - first, h, a.dim, p.query_rows, sizes.dim,
                   Place::adjacent);
  p.g = float_rows(a.dtype, args.d_o, s.query_begin + first, last - first, h, a.value_dim, p.d_out_rows,
                   sizes.value_dim, Place::adjacent);
  const auto* lse = static_cast<const float*>(a.lse) + h * a.lse_rows + s.query_begin;
  const auto* delta = static_cast<const float*>(args.delta) + h * a.lse_rows + s.query_begin;
  for (std::int64_t begin = first; begin < last; begin += kQueries) {
    const QueryBlock block(begin, last);
    const std::int64_t at = begin - first;
    const Rows q{p.q.data + at * p.q.row, p.q.row}, g{p.g.data + at * p.g.row, p.g.row};
    transpose_block(q, block, a.dim, static_cast<float>(a.scale) * kLog2e, p.query + at * sizes.dim);
    transpose_block(g, block, a.value_dim, 1.f, p.d_out + at * sizes.value_dim);
    for (std::int64_t i = 0; i < kQueries; ++i) {
      const bool inside = i < block.count;
      const float value = inside ? lse[begin + i] : -kInfinity;
      // A query that saw nothing has lse -inf; subtracting +inf instead makes its weights exp(-inf) = 0.
      p.lse[at + i] = value == -kInfinity ? kInfinity : value * kLog2e;
      p.delta[at + i] = inside ? delta[begin + i] : 0.f;
    }
  }
}

// The score-sized tiles: weights (dropped, for dV), dS (by the scores with their biases; then by the raw
// scores, where those are capped), and the cap's slope.
struct Tiles {
  float *weights, *d_scores, *slopes;
  explicit Tiles(float* space)
      : weights(space), d_scores(space + kKeys * kQueries), slopes(space + 2 * kKeys * kQueries) {}
};

// Fills both tiles for one block of queries.
void differentiate(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                   const Tile& tile, const Rows& k, const Rows& v, const float* query, const float* d_out,
                   const float* lse, const float* delta, const Tiles& t) {
  const FloatTag f;
  const std::int64_t j0 = tile.begin;
  for_runs(s, block, tile, [&](const Run& run) HWY_ATTR {
    score_product(k, a.dim, query, run, j0, t.weights);
    score_product(v, a.value_dim, d_out, run, j0, t.d_scores);
  });
  if (is_unfinished(a, s, block, tile)) finish_scores(a, s, h, block, tile, t.weights, t.slopes);
  if (a.dropout.threshold) drop(a, s, h, block, tile, t.d_scores, t.d_scores);
  for (int c = 0; c < block.vectors; ++c) {
    const Floats sums = hn::LoadU(f, lse + c * kLanes);
    const Floats base = hn::LoadU(f, delta + c * kLanes);
    const KeyRange seen_keys = vector_keys(s, block, c, tile);
    for (std::int64_t j = seen_keys.begin - j0; j < seen_keys.end - j0; ++j) {
      float* weight = t.weights + j * kQueries + c * kLanes;
      float* slope = t.d_scores + j * kQueries + c * kLanes;
      // A hidden pair has p = 0, though the log-sum-exp or its dP may be NaN.
      const Floats score = hn::LoadU(f, weight);
      const Floats p = hn::IfThenZeroElse(hn::Eq(score, hn::Set(f, -kInfinity)), exp2(hn::Sub(score, sums)));
      const auto seen = hn::Not(hn::Eq(p, hn::Zero(f)));
      hn::StoreU(hn::IfThenElseZero(seen, hn::Mul(p, hn::Sub(hn::LoadU(f, slope), base))), f, slope);
      hn::StoreU(p, f, weight);
    }
  }
  if (a.dropout.threshold) drop(a, s, h, block, tile, t.weights, t.weights);
}

void apply_slopes(const SequenceDesc& s, const QueryBlock& block, const Tile& tile, const Tiles& t) {
  const FloatTag f;
  for_scores(s, block, tile, t.d_scores, [&](float* at, std::int64_t, int) HWY_ATTR {
    const float* slope = t.slopes + (at - t.d_scores);
    // A hidden pair has dS = 0; its slope may be NaN.
    const Floats ds = hn::LoadU(f, at);
    hn::StoreU(hn::IfThenZeroElse(hn::Eq(ds, hn::Zero(f)), hn::Mul(ds, hn::LoadU(f, slope))), f, at);
  });
}

// What a unit adds to beside dQ, dK and dV.
struct BiasSums {
  bool own_bias = false;       // args.dbias: no other unit writes where this one does
  float* distances = nullptr;  // [DistanceSpan] of this head, or null
  std::int64_t least = 0;      // distance of its first element
};

// One block of queries against one tile: adds into the unit's d_query, and into dk and dv [keys][width] of
// the tile.
void backward_tile(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h,
                   const QueryBlock& block, const Tile& tile, const Rows& k, const Rows& v,
                   const BackwardSpace& sizes, const Prepared& p, const Tiles& t, const BiasSums& sums,
                   float* dk, float* dv) {
  const AttentionArgs& a = args.forward;
  const std::int64_t first = block.begin;
  differentiate(a, s, h, block, tile, k, v, p.query + first * sizes.dim, p.d_out + first * sizes.value_dim,
                p.lse + first, p.delta + first, t);
  if (sums.own_bias) add_bias_gradient(args, s, h, block, tile, t.d_scores);
  if (sums.distances) add_distance_gradient(s, block, tile, t.d_scores, sums.least, sums.distances);
  if (a.softcap > 0) apply_slopes(s, block, tile, t);
  const Rows q{p.q.data + first * p.q.row, p.q.row};
  const Rows g{p.g.data + first * p.g.row, p.g.row};
  const bool partial = is_partial(a, s, block, tile);
  const bool skip_keys = partial && !all_finite(k.data, tile.keys(), k.row, a.dim);
  const bool skip_queries = partial && !(all_finite(q.data, block.count, q.row, a.dim) &&
                                         all_finite(g.data, block.count, g.row, a.value_dim));
  for_columns(s, block, tile, [&](const Run& run) HWY_ATTR {
    query_product<Start::load>(k, a.dim, t.d_scores, run, tile.begin, nullptr, p.d_query + first * sizes.dim,
                               skip_keys);
  });
  for_runs(s, block, tile, [&](const Run& run) HWY_ATTR {
    key_product(q, sizes.dim, t.d_scores, block, run, tile.begin, dk, skip_queries);
    key_product(g, sizes.value_dim, t.weights, block, run, tile.begin, dv, skip_queries);
  });
}

void store_rows(DType dtype, const HeadRows& to, std::int64_t begin, std::int64_t count, std::int64_t head,
                std::int64_t dim, const float* from, std::int64_t width, float factor) {
  for (std::int64_t r = 0; r < count; ++r) {
    void* out = const_cast<void*>(to.at(dtype, begin + r, head));
    const float* in = from + r * width;
    if (dtype == DType::bfloat16) {
      for (std::int64_t d = 0; d < dim; ++d) static_cast<bfloat16*>(out)[d] = bfloat16(in[d] * factor);
    } else {
      for (std::int64_t d = 0; d < dim; ++d) static_cast<float*>(out)[d] = in[d] * factor;
    }
  }
}

// Keys [begin, end) of one sequence and key/value head. dQ goes to args.dq, or to `partial` [H][queries][D]
// where several ranges share a sequence; sums by distance to `distances` [group][DistanceSpan], where wanted.
void backward_unit(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t kv, std::int64_t begin,
                   std::int64_t end, bool own_bias, float* partial, float* distances, float* space) {
  const AttentionArgs& a = args.forward;
  const BackwardSpace sizes(a);
  Prepared p = lay_out(sizes, space);
  float* key_buffer = space + sizes.queries * sizes.per_query();
  float* value_buffer = key_buffer + kKeys * sizes.dim;
  float* key_sums = key_buffer + sizes.buffers();
  float* value_sums = key_sums + sizes.keys * sizes.dim;
  float* tiles = key_sums + sizes.sums();
  const Tiles t(tiles);
  const std::int64_t group = a.heads / a.kv_heads;

  const auto key_rows = [&](std::int64_t j0, std::int64_t count) {
    return float_rows(a.dtype, a.k, s.key_begin + j0, count, kv, a.dim, key_buffer, a.dim, Place::adjacent);
  };
  const auto value_rows = [&](std::int64_t j0, std::int64_t count) {
    return float_rows(a.dtype, a.v, s.key_begin + j0, count, kv, a.value_dim, value_buffer, a.value_dim);
  };
  const auto clear_sums = [&](std::int64_t count) {
    std::fill(key_sums, key_sums + count * sizes.dim, 0.f);
    std::fill(value_sums, value_sums + count * sizes.value_dim, 0.f);
  };
  const auto store_sums = [&](std::int64_t j0, std::int64_t count) {
    if (args.dk.data) {
      store_rows(a.dtype, args.dk, s.key_begin + j0, count, kv, a.dim, key_sums, sizes.dim,
                 static_cast<float>(a.scale));
    }
    if (args.dv.data) {
      store_rows(a.dtype, args.dv, s.key_begin + j0, count, kv, a.value_dim, value_sums, sizes.value_dim,
                 1.f);
    }
  };

  if (sizes.all_keys) clear_sums(end - begin);
  for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h) {
    prepare(args, s, h, 0, s.query_count, sizes, p);
    BiasSums sums{.own_bias = own_bias, .least = DistanceSpan(s).least};
    if (distances) {
      sums.distances = distances + (h - kv * group) * DistanceSpan(s).count;
      std::fill(sums.distances, sums.distances + DistanceSpan(s).count, 0.f);
    }
    for (std::int64_t first = 0; first < s.query_count; first += kQueries)
      clear_block(p.d_query + first * sizes.dim, a.dim, QueryBlock(first, s.query_count));
    // Without a plan by keys, which are then loaded once; a plan lists its tiles by queries.
    for (std::int64_t j0 = begin; !a.plan && j0 < end; j0 += kKeys) {
      const Tile tile{.begin = j0, .end = std::min(j0 + kKeys, end)};
      const Rows k = key_rows(j0, tile.keys()), v = value_rows(j0, tile.keys());
      const std::int64_t at = sizes.all_keys ? j0 - begin : 0;
      if (!sizes.all_keys) clear_sums(tile.keys());
      for (std::int64_t first = 0; first < s.query_count; first += kQueries) {
        const QueryBlock block(first, s.query_count);
        const KeyRange seen = visible_keys(s, block);
        if (seen.end <= tile.begin || seen.begin >= tile.end) continue;
        backward_tile(args, s, h, block, tile, k, v, sizes, p, t, sums, key_sums + at * sizes.dim,
                      value_sums + at * sizes.value_dim);
      }
      if (!sizes.all_keys) store_sums(j0, tile.keys());
    }
    for (std::int64_t first = 0; a.plan && first < s.query_count; first += kQueries) {
      const QueryBlock block(first, s.query_count);
      for_tiles(a, s, h, block, {begin, end}, [&](const Tile& tile) HWY_ATTR {
        const std::int64_t at = tile.begin - begin;
        backward_tile(args, s, h, block, tile, key_rows(tile.begin, tile.keys()),
                      value_rows(tile.begin, tile.keys()), sizes, p, t, sums, key_sums + at * sizes.dim,
                      value_sums + at * sizes.value_dim);
      });
    }
    if (!args.dq.data) continue;
    for (std::int64_t first = 0; first < s.query_count; first += kQueries) {
      const QueryBlock block(first, s.query_count);
      const float* from = p.d_query + first * sizes.dim;
      if (partial) {
        transpose(from, kQueries, a.dim, block.count, static_cast<float>(a.scale),
                  partial + (h * s.query_count + first) * a.dim, a.dim);
      } else if (a.dtype == DType::float32) {
        transpose(from, kQueries, a.dim, block.count, static_cast<float>(a.scale),
                  static_cast<float*>(const_cast<void*>(args.dq.at(a.dtype, s.query_begin + first, h))),
                  args.dq.row);
      } else {
        transpose(from, kQueries, a.dim, block.count, 1.f, p.query_rows, sizes.dim);
        store_rows(a.dtype, args.dq, s.query_begin + first, block.count, h, a.dim, p.query_rows, sizes.dim,
                   static_cast<float>(a.scale));
      }
    }
  }
  if (sizes.all_keys) store_sums(begin, end - begin);
}

// dbias where it is shared between sequences or heads: everything that adds to rows [first, last) of one
// slice, in order, from tiles computed once more.
void bias_unit(const AttentionGradArgs& args, std::int64_t slice_batch, std::int64_t slice_head,
               std::int64_t first, float* space) {
  const AttentionArgs& a = args.forward;
  const BackwardSpace sizes(a);
  Prepared p = lay_out(sizes, space);
  float* key_buffer = space + sizes.queries * sizes.per_query();
  float* value_buffer = key_buffer + kKeys * sizes.dim;
  float* tiles = key_buffer + sizes.buffers() + sizes.sums();
  const Tiles t(tiles);
  for (const SequenceDesc& s : a.sequences) {
    if (args.bias_batches > 1 && s.index != slice_batch) continue;
    for (std::int64_t h = 0; h < a.heads; ++h) {
      if (args.bias_heads > 1 && h != slice_head) continue;
      const std::int64_t begin = args.bias_queries > 1 ? first : 0;
      const std::int64_t end =
          args.bias_queries > 1 ? std::min(first + kQueries, s.query_count) : s.query_count;
      for (std::int64_t i = begin; i < end; i += kQueries) {
        prepare(args, s, h, i, std::min(i + kQueries, end), sizes, p);
        const QueryBlock block(i, end);
        const std::int64_t kv = h * a.kv_heads / a.heads;
        for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
          const Rows k =
              float_rows(a.dtype, a.k, s.key_begin + tile.begin, tile.keys(), kv, a.dim, key_buffer, a.dim);
          const Rows v = float_rows(a.dtype, a.v, s.key_begin + tile.begin, tile.keys(), kv, a.value_dim,
                                    value_buffer, a.value_dim);
          differentiate(a, s, h, block, tile, k, v, p.query, p.d_out, p.lse, p.delta, t);
          add_bias_gradient(args, s, h, block, tile, t.d_scores);
        });
      }
    }
  }
}

std::int64_t backward_block() { return kQueries; }

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(backward_floats);
HWY_EXPORT(backward_unit);
HWY_EXPORT(backward_block);
HWY_EXPORT(bias_unit);

}  // namespace

std::size_t attention_backward_workspace(const AttentionGradArgs& args, int threads) {
  const Plan plan = plan_keys(args.forward);
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(backward_floats)(args.forward) * threads +
                              plan.partial_floats + (args.ddistances ? plan.distance_floats : 0);
  return static_cast<std::size_t>(floats) * sizeof(float);
}

void attention_backward(const AttentionGradArgs& args, void* workspace) {
  const AttentionArgs& a = args.forward;
  sum_delta(args);
  const Plan plan = plan_keys(a);
  const bool shared_bias = bias_is_shared(args);
  auto* partials = static_cast<float*>(workspace);
  float* distances = partials + plan.partial_floats;
  float* spaces = distances + (args.ddistances ? plan.distance_floats : 0);
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(backward_floats)(a);
  const std::int64_t group = a.heads / a.kv_heads;
  core::parallel_for(static_cast<std::int64_t>(plan.units.size()) * a.kv_heads, [&](std::int64_t unit) {
    const KeyUnit& part = plan.units[static_cast<std::size_t>(unit / a.kv_heads)];
    const SequenceDesc& s = a.sequences[part.sequence];
    const std::int64_t kv = unit % a.kv_heads;
    HWY_DYNAMIC_DISPATCH(backward_unit)
    (args, s, kv, part.begin, part.end, args.dbias && !shared_bias,
     part.partial >= 0 ? partials + part.partial : nullptr,
     args.ddistances ? distances + part.distances + kv * group * DistanceSpan(s).count : nullptr,
     spaces + core::thread_index() * floats);
  });
  add_partials(args, plan, partials);
  if (args.ddistances) add_distances(args, plan, distances);
  if (!shared_bias) return;
  const std::int64_t block = HWY_DYNAMIC_DISPATCH(backward_block)();
  const std::int64_t blocks = args.bias_queries > 1 ? (args.bias_queries + block - 1) / block : 1;
  core::parallel_for(args.bias_batches * args.bias_heads * blocks, [&](std::int64_t unit) {
    HWY_DYNAMIC_DISPATCH(bias_unit)
    (args, unit / blocks / args.bias_heads, unit / blocks % args.bias_heads, unit % blocks * block,
     spaces + core::thread_index() * floats);
  });
}
}  // namespace headway::inline v1::kernels
#endif
