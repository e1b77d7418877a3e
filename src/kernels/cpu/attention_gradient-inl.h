// What the backward pass does to one tile, and what it keeps of a head's queries meanwhile.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_GRADIENT_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_GRADIENT_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_GRADIENT_INL_H_
#endif

#include "kernels/cpu/attention_pairs-inl.h"
#include "kernels/cpu/attention_relative-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// float32 workspace of one thread.
struct BackwardSpace {
  std::int64_t dim, value_dim, queries, keys;
  bool pairs, all_keys, relative_keys;
  std::int64_t packed;  // rows of relative keys
  RelativeSpace relative;
  BackwardSpace(const AttentionGradArgs& args, const BackwardExtent& extent)
      : BackwardSpace(args.forward, in_pairs(args), extent) {}
  BackwardSpace(const AttentionArgs& a, bool of_pairs, const BackwardExtent& extent)
      : dim(round_up(a.dim)),
        value_dim(round_up(a.value_dim)),
        queries((extent.queries + kQueries - 1) / kQueries * kQueries),
        keys(kKeys + (extent.all_keys ? extent.keys : 0)),
        pairs(of_pairs),
        all_keys(extent.all_keys),
        relative_keys(a.relative_keys.data),
        packed(packed_floats(a, extent.queries, extent.keys)),
        relative(a) {}
  // Q, dO and Q', each by rows and transposed, and dQ and dQ'.
  std::int64_t per_query() const { return (relative_keys ? 6 : 3) * dim + 2 * value_dim + 2; }
  std::int64_t blocks() const { return queries / kQueries; }
  // Rows of one tile; of pairs, its keys also two in a row.
  std::int64_t buffers() const { return kKeys * (dim + value_dim) + (pairs ? joined_keys() * dim : 0); }
  std::int64_t sums() const { return keys * (dim + value_dim); }
  static constexpr std::int64_t joined_keys() { return kKeys / 2 + 1; }
  std::int64_t tiles() const { return 4 * kKeys * kQueries + (pairs ? joined_tiles() : 0); }
  static constexpr std::int64_t joined_tiles() { return (joined_keys() + kKeys) * kQueries + kKeys; }
  std::int64_t total() const {
    return queries * per_query() + buffers() + sums() + tiles() + relative.total() + blocks() + packed;
  }
};

// The score-sized tiles: weights (dropped, for dV), dS (by the scores with their biases; then by those before
// the modifier, and the cap), and what those have to remember.
struct GradientTiles {
  float *weights, *d_scores;
  ScoreHistory history;
  // Of pairs: scale·log2(e) for each key, or null; dS by pairs of keys; weights and dS by pairs of queries.
  float* pair_scale = nullptr;
  float *joined_keys = nullptr, *joined_weights = nullptr, *joined_d_scores = nullptr;
  GradientTiles(float* space, bool pairs)
      : weights(space),
        d_scores(space + kKeys * kQueries),
        history{space + 2 * kKeys * kQueries, space + 3 * kKeys * kQueries} {
    if (!pairs) return;
    pair_scale = space + 4 * kKeys * kQueries;
    joined_keys = pair_scale + kKeys;
    joined_weights = joined_keys + BackwardSpace::joined_keys() * kQueries;
    joined_d_scores = joined_weights + kKeys * kQueries / 2;
  }
};

// Where everything of a thread lies.
struct BackwardBuffers {
  // The queries of one head, made ready for all their tiles. Blocks follow one another; within a transposed
  // block row d is kQueries wide.
  float *query, *query_rows, *d_query, *d_out, *d_out_rows, *lse, *delta;
  float *relative_query = nullptr, *relative_rows = nullptr, *d_relative = nullptr;
  float *keys, *values;          // one tile's rows
  float* joined_keys;            // of pairs: two of its keys in a row
  float *key_sums, *value_sums;  // dK and dV
  GradientTiles tiles;
  RelativeBuffers relative;
  float* ready;   // of each block of queries: 0 until it has been prepared
  float* packed;  // rows of relative keys
  BackwardBuffers(const AttentionArgs& a, const BackwardSpace& sizes, float* space)
      : query(space),
        query_rows(query + sizes.queries * sizes.dim),
        d_query(query_rows + sizes.queries * sizes.dim),
        d_out(d_query + sizes.queries * sizes.dim),
        d_out_rows(d_out + sizes.queries * sizes.value_dim),
        lse(d_out_rows + sizes.queries * sizes.value_dim),
        delta(lse + sizes.queries),
        keys(space + sizes.queries * sizes.per_query()),
        values(keys + kKeys * sizes.dim),
        joined_keys(values + kKeys * sizes.value_dim),
        key_sums(keys + sizes.buffers()),
        value_sums(key_sums + sizes.keys * sizes.dim),
        tiles(key_sums + sizes.sums(), sizes.pairs),
        relative(sizes.relative, key_sums + sizes.sums() + sizes.tiles()),
        ready(key_sums + sizes.sums() + sizes.tiles() + sizes.relative.total()),
        packed(ready + sizes.blocks()) {
    if (sizes.pairs)
      std::fill(tiles.pair_scale, tiles.pair_scale + kKeys, static_cast<float>(a.scale) * kLog2e);
    if (!sizes.relative_keys) return;
    relative_query = delta + sizes.queries;
    relative_rows = relative_query + sizes.queries * sizes.dim;
    d_relative = relative_rows + sizes.queries * sizes.dim;
  }
  // What the products read of a block that has been prepared, which by then lies beyond the L2 cache.
  void add_prepared(const BackwardSpace& sizes, std::int64_t at, Ahead& ahead) const {
    const auto add = [&](const float* rows, std::int64_t width) {
      ahead.add(DType::float32, {rows, width, 0}, {at, kQueries}, 0, width);
    };
    add(query, sizes.dim);
    if (relative_query) add(relative_query, sizes.dim);
    add(d_out, sizes.value_dim);
    if (relative_rows) add(relative_rows, sizes.dim);
    add(query_rows, sizes.dim);
    add(d_out_rows, sizes.value_dim);
  }
};

// Keys and values of a tile: as they meet queries, and as dQ sums them up, from key `first` on; of pairs, two
// in a row of `summed`.
struct KeyRows {
  Rows k, v, summed;
  std::int64_t first;
};
inline KeyRows load_keys(const AttentionArgs& a, const SequenceDesc& s, std::int64_t kv, const KeyRange& keys,
                         const BackwardSpace& sizes, const BackwardBuffers& p) {
  const auto span = [&](std::int64_t begin) { return keys_of(s, begin, keys.end - begin); };
  if (!sizes.pairs) {
    const Rows k = float_rows(a.dtype, a.k, span(keys.begin), kv, a.dim, p.keys, sizes.dim, Place::adjacent);
    return {k, float_rows(a.dtype, a.v, span(keys.begin), kv, a.value_dim, p.values, a.value_dim), k,
            keys.begin};
  }
  const std::int64_t first = pair_begin(keys.begin);
  return {word_rows(a.k, span(keys.begin), kv, a.dim, p.keys, Place::adjacent),
          word_rows(a.v, span(keys.begin), kv, a.value_dim, p.values, Place::adjacent),
          joined_rows(a.k, span(first), kv, a.dim, p.joined_keys, sizes.dim), first};
}

// Q, dO and Q' of one block by rows: in place, or copied to row `at` of the thread's own. Of pairs, two
// queries in a row.
struct QueryRows {
  Rows q = {}, g = {}, relative = {};
  QueryRows(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
            const BackwardSpace& sizes, const BackwardBuffers& p, std::int64_t at) {
    const AttentionArgs& a = args.forward;
    if (sizes.pairs) {
      q = {p.query_rows + at * sizes.dim, sizes.dim};
      g = {p.d_out_rows + at * sizes.value_dim, sizes.value_dim};
      return;
    }
    const RowSpan span = queries_of(s, block.begin, block.count);
    q = place_of(a.dtype, a.q, span, h, a.dim, p.query_rows + at * sizes.dim, sizes.dim, Place::adjacent);
    g = place_of(a.dtype, args.d_o, span, h, a.value_dim, p.d_out_rows + at * sizes.value_dim,
                 sizes.value_dim, Place::adjacent);
    if (a.relative_keys.data)
      relative = place_of(a.dtype, a.relative_query, span, h, a.dim, p.relative_rows + at * sizes.dim,
                          sizes.dim, Place::adjacent);
  }
};

// Σ_d o[d]·g[d]
template <class T>
float dot(const T* o, const T* g, std::int64_t dim) {
  const FloatTag f;
  Floats sum = hn::Zero(f);
  std::int64_t d = 0;
  for (; d + kLanes <= dim; d += kLanes) sum = hn::MulAdd(load_floats(o + d), load_floats(g + d), sum);
  float total = hn::GetLane(hn::SumOfLanes(f, sum));
  for (; d < dim; ++d) total += static_cast<float>(o[d]) * static_cast<float>(g[d]);
  return total;
}

// delta = Σ_d dO∘O - dlse, a number for each query: what every dS of its row has subtracted. The
// log-sum-exp's own gradient adds P·dlse to dS, and so joins in here.
inline void load_delta(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h,
                       const QueryBlock& block, float* out) {
  const AttentionArgs& a = args.forward;
  const auto* d_lse = static_cast<const float*>(args.d_lse);
  std::fill(out, out + kQueries, 0.f);
  for (std::int64_t i = 0; i < block.count; ++i) {
    const std::int64_t row = s.query_row(block.begin + i);
    const void *o = a.o.at(a.dtype, row, h), *g = args.d_o.at(a.dtype, row, h);
    out[i] = a.dtype == DType::bfloat16
                 ? dot(static_cast<const bfloat16*>(o), static_cast<const bfloat16*>(g), a.value_dim)
                 : dot(static_cast<const float*>(o), static_cast<const float*>(g), a.value_dim);
    if (d_lse) out[i] -= d_lse[h * a.lse_rows + row];
  }
}

// Makes one block of queries ready, at row `at`, and clears its dQ.
inline void prepare(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h,
                    const QueryBlock& block, const BackwardSpace& sizes, const BackwardBuffers& p,
                    std::int64_t at) {
  const AttentionArgs& a = args.forward;
  const RowSpan span = queries_of(s, block.begin, block.count);
  const float factor = static_cast<float>(a.scale) * kLog2e;
  float *query_rows = p.query_rows + at * sizes.dim, *d_out_rows = p.d_out_rows + at * sizes.value_dim;
  float *query = p.query + at * sizes.dim, *d_out = p.d_out + at * sizes.value_dim;
  if (sizes.pairs) {  // words of the rows themselves are transposed; no buffer is needed
    transpose_block(word_rows(a.q, span, h, a.dim, nullptr), block, a.dim / 2, Unscaled(), query);
    transpose_block(word_rows(args.d_o, span, h, a.value_dim, nullptr), block, a.value_dim / 2, Unscaled(),
                    d_out);
    joined_rows(a.q, span, h, a.dim, query_rows, sizes.dim);
    joined_rows(args.d_o, span, h, a.value_dim, d_out_rows, sizes.value_dim);
  } else {
    const Rows q = float_rows(a.dtype, a.q, span, h, a.dim, query_rows, sizes.dim, Place::adjacent);
    transpose_block(q, block, a.dim, factor, query);
    const Rows g =
        float_rows(a.dtype, args.d_o, span, h, a.value_dim, d_out_rows, sizes.value_dim, Place::adjacent);
    transpose_block(g, block, a.value_dim, Unscaled(), d_out);
  }
  std::fill(p.d_query + at * sizes.dim, p.d_query + (at + block.count) * sizes.dim, 0.f);
  if (a.relative_keys.data) {
    const Rows r = float_rows(a.dtype, a.relative_query, span, h, a.dim, p.relative_rows + at * sizes.dim,
                              sizes.dim, Place::adjacent);
    transpose_block(r, block, a.dim, factor, p.relative_query + at * sizes.dim);
    std::fill(p.d_relative + at * sizes.dim, p.d_relative + (at + block.count) * sizes.dim, 0.f);
  }
  load_lse(a, s, h, block, p.lse + at);
  load_delta(args, s, h, block, p.delta + at);
}

// Fills the tiles of weights and dS for one block of queries, which is `at` rows from the first prepared.
// Fetches what is `ahead` meanwhile. True where some pair is hidden.
inline bool differentiate(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                          const QueryBlock& block, const Tile& tile, const KeyRows& keys,
                          const BackwardSpace& sizes, const BackwardBuffers& p, std::int64_t at,
                          Ahead& ahead) {
  const FloatTag f;
  const std::int64_t j0 = tile.begin;
  const GradientTiles& t = p.tiles;
  const bool partial =
      score_tile(a, s, h, block, tile,
                 {keys.k, p.query + at * sizes.dim, p.relative_query + at * sizes.dim, t.pair_scale, &ahead},
                 p.relative, t.weights, t.history);
  const float* d_out = p.d_out + at * sizes.value_dim;
  const std::int64_t depth = sizes.pairs ? a.value_dim / 2 : a.value_dim;
  for_runs(tile, [&](const Run& run) HWY_ATTR {
    score_product(keys.v, depth, d_out, run, j0, t.d_scores, sizes.pairs, nullptr, &ahead);
  });
  if (a.relative_values.data) {
    const RelativeTile r = relative_tile(a.relative_values, s, h, block, tile, p.relative.rows);
    add_relative(r, block, tile, a.value_dim, d_out, p.relative, t.d_scores);
  }
  if (a.dropout.threshold) drop(a, s, h, block, tile, t.d_scores, t.d_scores);
  for (int c = 0; c < block.vectors; ++c) {
    ahead.fetch();
    const Floats sums = hn::LoadU(f, p.lse + at + c * kLanes);
    const Floats base = hn::LoadU(f, p.delta + at + c * kLanes);
    const KeyRange seen_keys = tile.vector_keys(c);
    for (std::int64_t j = seen_keys.begin - j0; j < seen_keys.end - j0; ++j) {
      float* weight = t.weights + j * kQueries + c * kLanes;
      float* slope = t.d_scores + j * kQueries + c * kLanes;
      // A hidden pair has p = 0, though the log-sum-exp or its dP may be NaN.
      const Floats score = hn::LoadU(f, weight);
      const Floats weighed =
          hn::IfThenZeroElse(hn::Eq(score, hn::Set(f, -kInfinity)), exp2(hn::Sub(score, sums)));
      const auto seen = hn::Not(hn::Eq(weighed, hn::Zero(f)));
      hn::StoreU(hn::IfThenElseZero(seen, hn::Mul(weighed, hn::Sub(hn::LoadU(f, slope), base))), f, slope);
      hn::StoreU(weighed, f, weight);
    }
  }
  if (a.dropout.threshold) drop(a, s, h, block, tile, t.weights, t.weights);
  return partial;
}

// dS times the cap's slope.
inline void apply_slopes(const QueryBlock& block, const Tile& tile, const GradientTiles& t) {
  const FloatTag f;
  for_scores(block, tile, t.d_scores, [&](float* at, std::int64_t, int) HWY_ATTR {
    const float* slope = t.history.slopes + (at - t.d_scores);
    // A hidden pair has dS = 0; its slope may be NaN.
    const Floats ds = hn::LoadU(f, at);
    hn::StoreU(hn::IfThenZeroElse(hn::Eq(ds, hn::Zero(f)), hn::Mul(ds, hn::LoadU(f, slope))), f, at);
  });
}

// dS through the modifier's derivative.
inline void derive_modifier(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                            const QueryBlock& block, const Tile& tile, const GradientTiles& t,
                            float* d_parameters) {
  const FloatTag f;
  // What is hidden must not reach a derivative: its score may be NaN.
  for_scores(block, tile, t.d_scores, [&](float* at, std::int64_t, int) HWY_ATTR {
    float* before = t.history.before + (at - t.d_scores);
    const auto still = hn::Eq(hn::LoadU(f, at), hn::Zero(f));
    hn::StoreU(hn::IfThenZeroElse(still, hn::LoadU(f, before)), f, before);
  });
  for_runs(tile, [&](const Run& run) {
    a.modifier->derive<float>(modifier_tile(s, h, block, tile, run, t.history.before),
                              modifier_tile(s, h, block, tile, run, t.d_scores), d_parameters);
  });
}

// What a head's tiles add to beside dQ, dK and dV: the unit's own, or null where not wanted.
struct HeadSums {
  bool own_bias = false;  // args.dbias: no other unit writes where this one does
  float *distances = nullptr, *keys = nullptr, *values = nullptr, *parameters = nullptr;
  std::int64_t least = 0;                               // distance of the first of `distances`
  std::int64_t first_key_row = 0, first_value_row = 0;  // numbers of the first rows
};

// One block of queries against one tile: adds into d_query, and into dK and dV of the unit, whose first key
// is number `begin` of the sequence.
inline void backward_tile(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h,
                          const QueryBlock& block, const Tile& tile, const KeyRows& keys,
                          const BackwardSpace& sizes, const BackwardBuffers& p, const HeadSums& sums,
                          std::int64_t begin, Ahead& ahead) {
  const AttentionArgs& a = args.forward;
  const GradientTiles& t = p.tiles;
  const std::int64_t first = block.begin;
  const bool partial = differentiate(a, s, h, block, tile, keys, sizes, p, first, ahead);
  const QueryRows rows(args, s, h, block, sizes, p, first);
  const Rows &q = rows.q, &g = rows.g;
  const auto finite = [&](const Rows& x, std::int64_t count, std::int64_t dim) {
    return all_finite(x.data, sizes.pairs ? (count + 1) / 2 : count, x.row, dim, sizes.pairs);
  };
  const bool finite_g = !partial || finite(g, block.count, a.value_dim);
  const bool shares = sizes.pairs && shares_pairs(tile);
  const bool skip_keys = (partial || shares) && !finite(keys.summed, tile.end - keys.first, a.dim);
  const bool skip_queries = partial && !(finite_g && finite(q, block.count, a.dim));
  if (sums.own_bias) add_bias_gradient(args, s, h, block, tile, t.d_scores);
  if (sums.distances) add_distance_gradient(s, block, tile, t.d_scores, sums.least, sums.distances);
  if (sums.values) {
    const RelativeTile r = relative_tile(a.relative_values, s, h, block, tile, p.relative.rows);
    sum_by_distance(r, block, tile, p.relative, t.weights);
    add_relative_gradient(a.relative_values, r, s, block, tile, g, p.relative, !finite_g,
                          sums.first_value_row, sums.values);
  }
  if (a.modifier) derive_modifier(a, s, h, block, tile, t, sums.parameters);
  if (a.softcap > 0) apply_slopes(block, tile, t);
  if (a.relative_keys.data) {
    const Rows& query = rows.relative;
    const RelativeTile r = relative_tile(a.relative_keys, s, h, block, tile, p.relative.rows);
    sum_by_distance(r, block, tile, p.relative, t.d_scores);
    add_relative_product(r, block, tile, sizes.dim, p.relative, partial, p.d_relative + first * sizes.dim);
    if (sums.keys) {
      const bool skip = partial && !all_finite(query.data, block.count, query.row, a.dim);
      add_relative_gradient(a.relative_keys, r, s, block, tile, query, p.relative, skip, sums.first_key_row,
                            sums.keys);
    }
  }
  if (sizes.pairs) {
    join_keys(block, tile, t.d_scores, keys.first, t.joined_keys);
    join_queries(block, tile, t.d_scores, t.joined_d_scores);
    join_queries(block, tile, t.weights, t.joined_weights);
  }
  const float* by_keys = sizes.pairs ? t.joined_keys : t.d_scores;
  for_columns(block, tile, [&](const Run& run) HWY_ATTR {
    query_product<Start::load>(keys.summed, sizes.dim, by_keys, block, run, keys.first, nullptr,
                               p.d_query + first * sizes.dim, sizes.dim, skip_keys, sizes.pairs, &ahead);
  });
  float* dk = p.key_sums + (tile.begin - begin) * sizes.dim;
  float* dv = p.value_sums + (tile.begin - begin) * sizes.value_dim;
  for_runs(tile, [&](const Run& run) HWY_ATTR {
    key_product(q, sizes.dim, sizes.pairs ? t.joined_d_scores : t.d_scores, block, run, tile.begin, dk,
                skip_queries, sizes.pairs, &ahead);
    key_product(g, sizes.value_dim, sizes.pairs ? t.joined_weights : t.weights, block, run, tile.begin, dv,
                skip_queries, sizes.pairs, &ahead);
  });
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
