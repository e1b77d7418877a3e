// Terms that depend on how far apart query and key are, by vectors: Q'·A[distance] in the scores, C[distance]
// beside the values (Shaw et al. 2018, eq. 3 and 4; Dai et al. 2019, §3.3). No array of T·S: a tile of n keys
// and m queries has n + m - 1 distances, whose vectors are multiplied like keys; row u of that product, a
// distance, and lane i, a query, meet in key j = u + i - (m - 1) of the tile. Going from (u, i) to (j, i) is
// a transpose into rows of queries and one back that reads each row one element later: the relative shift of
// Dai et al. (appendix B), without leaving the cache.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_RELATIVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_RELATIVE_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_RELATIVE_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_RELATIVE_INL_H_
#endif

#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

constexpr std::int64_t kBand = kKeys + kQueries;  // distances of a tile, rounded up

// float32 workspace of one thread.
struct RelativeSpace {
  std::int64_t width = 0;  // of a vector, rounded up; 0: no relative terms
  explicit RelativeSpace(const AttentionArgs& a) {
    if (a.relative_keys.data) width = round_up(a.dim);
    if (a.relative_values.data) width = std::max(width, round_up(a.value_dim));
  }
  std::int64_t total() const { return width == 0 ? 0 : kBand * (width + 2 * kQueries) + kKeys * kQueries; }
};

struct RelativeBuffers {
  float *rows, *panel, *skewed, *strip;
  RelativeBuffers(const RelativeSpace& sizes, float* space)
      : rows(space),                         // [kBand][width]
        panel(rows + kBand * sizes.width),   // [kBand][kQueries]: by distance
        skewed(panel + kBand * kQueries),    // [kQueries][kBand]
        strip(skewed + kBand * kQueries) {}  // [kKeys][kQueries]
};

// The distances of one tile: row u has distance top - u·step. Where all lie beyond the clip, one row.
struct RelativeTile {
  std::int64_t top = 0, bottom = 0, count = 0;
  bool constant = false;
  Rows rows = {};
  RelativeTile(const RelativeRows& r, const SequenceDesc& s, const QueryBlock& block, const Tile& tile)
      : top(s.distance(block.begin + block.count - 1, tile.begin)),
        bottom(s.distance(block.begin, tile.end - 1)),
        count(tile.keys() + block.count - 1),
        constant(bottom >= r.clip || top <= -r.clip) {
    if (constant) count = 1;
  }
};

inline RelativeTile relative_tile(const RelativeRows& r, const SequenceDesc& s, std::int64_t h,
                                  const QueryBlock& block, const Tile& tile, float* buffer) {
  RelativeTile out(r, s, block, tile);
  const float* table = static_cast<const float*>(r.data) + h * r.head;
  const bool inside = r.number(out.top) >= 0 && r.number(out.bottom) < r.count;
  // Rows that lie apart are copied, as keys are: see Place; and those that do not end with a vector.
  const std::int64_t width = round_up(r.width);
  const bool in_place = r.row * s.step == r.width && r.width == width;
  if (in_place && (out.constant || (inside && out.top <= r.clip && out.bottom >= -r.clip))) {
    out.rows = {table + r.number(out.top) * r.row, r.row * s.step};
    return out;
  }
  for (std::int64_t u = 0; u < out.count; ++u) {
    const std::int64_t row = r.number(out.top - u * s.step);
    // Only hidden pairs are farther apart than a table without a clip knows.
    const bool known = row >= 0 && row < r.count;
    if (known) copy_floats(table + row * r.row, r.width, buffer + u * width);
    std::fill(buffer + u * width + (known ? r.width : 0), buffer + (u + 1) * width, 0.f);
  }
  out.rows = {buffer, width};
  return out;
}

// Calls body(distances as a run, first lane, lanes, keys) for each group of queries.
template <class Body>
HWY_INLINE void for_bands(const QueryBlock& block, const Tile& tile, const Body& body) {
  for (int group = 0; group * kGroupVectors < block.vectors; ++group) {
    const KeyRange keys = tile.seen[group];
    if (keys.begin >= keys.end) continue;
    const std::int64_t lane = group * kRunQueries;
    const std::int64_t lanes = std::min(kRunQueries, block.count - lane);
    const std::int64_t last = block.count - lane - lanes;  // row where the group's last lane meets key 0
    body(Run{keys.begin - tile.begin + last, keys.end - tile.begin + last + lanes - 1, group * kGroupVectors,
             std::min((group + 1) * kGroupVectors, block.vectors)},
         lane, lanes, keys);
  }
}

// Where lane `lane` meets the tile's key j; the next lane meets it kBand - 1 elements later.
inline std::int64_t skewed_at(const QueryBlock& block, const Tile& tile, std::int64_t lane, std::int64_t j) {
  return lane * kBand + j - tile.begin + block.count - 1 - lane;
}

// scores[key][query] += Σ_d A[distance][d]·query[d][query]
inline void add_relative(const RelativeTile& r, const QueryBlock& block, const Tile& tile, std::int64_t dim,
                         const float* query, const RelativeBuffers& buffers, float* scores) {
  const FloatTag f;
  if (r.constant) {
    score_product(r.rows, dim, query, Run{0, 1, 0, block.vectors}, 0, buffers.panel);
    for_scores(block, tile, scores, [&](float* at, std::int64_t, int v) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(f, at), hn::LoadU(f, buffers.panel + v * kLanes)), f, at);
    });
    return;
  }
  for_bands(block, tile,
            [&](const Run& band, std::int64_t lane, std::int64_t lanes, const KeyRange& keys) HWY_ATTR {
              score_product(r.rows, dim, query, band, 0, buffers.panel);
              transpose(buffers.panel + band.begin * kQueries + lane, kQueries, band.keys(), lanes, 1.f,
                        buffers.skewed + lane * kBand + band.begin, kBand);
              float* strip = buffers.strip + (keys.begin - tile.begin) * kQueries + lane;
              if (lanes < kRunQueries) {  // lanes without a query add nothing
                for (std::int64_t j = 0; j < keys.end - keys.begin; ++j)
                  std::fill(strip + j * kQueries, strip + j * kQueries + kRunQueries, 0.f);
              }
              transpose(buffers.skewed + skewed_at(block, tile, lane, keys.begin), kBand - 1, lanes,
                        keys.end - keys.begin, 1.f, strip, kQueries);
            });
  for_scores(block, tile, scores, [&](float* at, std::int64_t, int) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(f, at), hn::LoadU(f, buffers.strip + (at - scores))), f, at);
  });
}

// The way back: panel[distance][query] = Σ of `values` [key][query] of that distance.
inline void sum_by_distance(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                            const RelativeBuffers& buffers, const float* values) {
  const FloatTag f;
  if (r.constant) {
    for (int v = 0; v < block.vectors; ++v) {
      const KeyRange seen = tile.vector_keys(v);
      Floats sum = hn::Zero(f);
      for (std::int64_t j = seen.begin; j < seen.end; ++j)
        sum = hn::Add(sum, hn::LoadU(f, values + (j - tile.begin) * kQueries + v * kLanes));
      hn::StoreU(sum, f, buffers.panel + v * kLanes);
    }
    return;
  }
  for_bands(block, tile, [&](const Run& band, std::int64_t lane, std::int64_t lanes, const KeyRange& keys) {
    for (std::int64_t i = lane; i < lane + lanes; ++i)
      std::fill(buffers.skewed + i * kBand + band.begin, buffers.skewed + i * kBand + band.end, 0.f);
    transpose(values + (keys.begin - tile.begin) * kQueries + lane, kQueries, keys.end - keys.begin, lanes,
              1.f, buffers.skewed + skewed_at(block, tile, lane, keys.begin), kBand - 1);
    transpose(buffers.skewed + lane * kBand + band.begin, kBand, lanes, band.keys(), 1.f,
              buffers.panel + band.begin * kQueries + lane, kQueries);
  });
}

// Calls body(distances as a run) for what sum_by_distance() has written.
template <class Body>
HWY_INLINE void for_distance_runs(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                                  const Body& body) {
  if (r.constant) return body(Run{0, 1, 0, block.vectors});
  for_bands(block, tile, [&](const Run& band, std::int64_t, std::int64_t, const KeyRange&) { body(band); });
}

// out[query][d] += Σ_distance panel[distance][query]·C[distance][d], `width` columns of them.
inline void add_relative_product(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                                 std::int64_t width, const RelativeBuffers& buffers, bool partial,
                                 float* out) {
  const bool skip_zeros = partial && !all_finite(r.rows.data, r.count, r.rows.row, width);
  for_distance_runs(r, block, tile, [&](const Run& band) HWY_ATTR {
    query_product<Start::load>(r.rows, width, buffers.panel, block, band, 0, nullptr, out, width, skip_zeros);
  });
}

// sums[distance][d] += Σ_query panel[distance][query]·rows[query][d]; `sums` holds rows of `table` from
// number `first` on, without gaps. Overwrites the buffer that the tile's rows may lie in.
inline void add_relative_gradient(const RelativeRows& table, const RelativeTile& r, const SequenceDesc& s,
                                  const QueryBlock& block, const Tile& tile, const Rows& rows,
                                  const RelativeBuffers& buffers, bool skip_zeros, std::int64_t first,
                                  float* sums) {
  const FloatTag f;
  const std::int64_t width = round_up(table.width);
  std::fill(buffers.rows, buffers.rows + r.count * width, 0.f);
  for_distance_runs(r, block, tile, [&](const Run& band) HWY_ATTR {
    key_product(rows, width, buffers.panel, block, band, 0, buffers.rows, skip_zeros, false);
  });
  for (std::int64_t u = 0; u < r.count; ++u) {
    const std::int64_t row = table.number(r.top - u * s.step);
    if (row < 0 || row >= table.count) continue;
    float* to = sums + (row - first) * table.width;
    const float* from = buffers.rows + u * width;
    std::int64_t d = 0;
    for (; d + kLanes <= table.width; d += kLanes)
      hn::StoreU(hn::Add(hn::LoadU(f, to + d), hn::LoadU(f, from + d)), f, to + d);
    for (; d < table.width; ++d) to[d] += from[d];
  }
}

// What scores are made of: keys, and Q and Q' transposed.
struct ScoreOperands {
  Rows keys;
  const float *query, *relative_query;
  const float* pair_scale = nullptr;  // of pairs: scale·log2(e) for each key, which such a query lacks
  Ahead* ahead = nullptr;
};

// All of a tile's scores: the products, and what becomes of them. True where some pair is hidden.
inline bool score_tile(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                       const Tile& tile, const ScoreOperands& of, const RelativeBuffers& buffers,
                       float* scores, const ScoreHistory& history = {}) {
  const bool pairs = of.pair_scale != nullptr;
  for_runs(tile, [&](const Run& run) HWY_ATTR {
    score_product(of.keys, pairs ? a.dim / 2 : a.dim, of.query, run, tile.begin, scores, pairs, of.pair_scale,
                  of.ahead);
  });
  if (a.relative_keys.data) {
    const RelativeTile r = relative_tile(a.relative_keys, s, h, block, tile, buffers.rows);
    add_relative(r, block, tile, a.dim, of.relative_query, buffers, scores);
  }
  return finish_scores(a, s, h, block, tile, scores, history);
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
