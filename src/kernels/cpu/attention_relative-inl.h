// Terms that depend on how far apart query and key are, by vectors: Q'·A[distance] in the scores, C[distance]
// beside the values (Shaw et al. 2018, eq. 3 and 4; Dai et al. 2019, §3.3). No array of T·S: a tile of n keys
// and m queries has n + m - 1 distances, whose vectors are multiplied like keys; row u of that product, a
// distance, and lane i, a query, meet in key j = u + i - (m - 1) of the tile. Going from (u, i) to (j, i) is
// a shear, which takes each lane one row further than the lane before it: the relative shift of Dai et al.
// (appendix B), in registers.
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
  std::int64_t total() const { return width == 0 ? 0 : kBand * (width + kQueries); }
};

struct RelativeBuffers {
  float *rows, *panel;
  RelativeBuffers(const RelativeSpace& sizes, float* space)
      : rows(space),                          // [kBand][width]
        panel(rows + kBand * sizes.width) {}  // [kBand][kQueries]: by distance
};

// True where a head's rows lie apart, as those of a projection do: each is met by several blocks of queries,
// so they are copied once. A plan's tiles may need few of them.
inline bool packs_rows(const AttentionArgs& a) {
  const RelativeRows& r = a.relative_keys;
  return r.data && !a.plan && r.row != r.width && r.width % kLanes == 0;
}

// Floats of packed_rows() for so many queries and keys.
inline std::int64_t packed_floats(const AttentionArgs& a, std::int64_t queries, std::int64_t keys) {
  return packs_rows(a) ? std::min(a.relative_keys.count, queries + keys) * a.relative_keys.width : 0;
}

// The rows of one head that queries [begin, end) and these keys can meet, next to one another in `out`.
inline RelativeRows packed_rows(RelativeRows r, const SequenceDesc& s, std::int64_t h,
                                const KeyRange& queries, const KeyRange& keys, float* out) {
  const std::int64_t first = std::max<std::int64_t>(r.number(s.distance(queries.end - 1, keys.begin)), 0);
  const std::int64_t last = std::min(r.number(s.distance(queries.begin, keys.end - 1)) + 1, r.count);
  const float* table = static_cast<const float*>(r.data) + h * r.head;
  for (std::int64_t row = first; row < last; ++row)
    copy_floats(table + row * r.row, r.width, out + (row - first) * r.width);
  r.data = out - first * r.width;
  r.row = r.width;
  r.head = 0;
  return r;
}

// The distances of one tile: row u has distance top - u·step. Where all lie beyond the clip, one row.
struct RelativeTile {
  std::int64_t top = 0, bottom = 0, count = 0;
  bool constant = false;
  bool whole = false;  // row u is row number(top) + u·step of the table
  Rows rows = {};
  RelativeTile(const RelativeRows& r, const SequenceDesc& s, const QueryBlock& block, const Tile& tile)
      : top(s.distance(block.begin + block.count - 1, tile.begin)),
        bottom(s.distance(block.begin, tile.end - 1)),
        count(tile.keys() + block.count - 1),
        constant(bottom >= r.clip || top <= -r.clip) {
    if (constant) count = 1;
    const bool inside = r.number(top) >= 0 && r.number(bottom) < r.count;
    whole = inside && (constant || (top <= r.clip && bottom >= -r.clip));
  }
};

inline RelativeTile relative_tile(const RelativeRows& r, const SequenceDesc& s, std::int64_t h,
                                  const QueryBlock& block, const Tile& tile, float* buffer) {
  RelativeTile out(r, s, block, tile);
  const float* table = static_cast<const float*>(r.data) + h * r.head;
  // Rows that lie apart are copied, as keys are: see Place; and those that do not end with a vector.
  const std::int64_t width = round_up(r.width);
  if (out.whole && r.row * s.step == r.width && r.width == width) {
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

// Rows of distances at which a group of queries meets the keys that it sees.
inline KeyRange band_of(const QueryBlock& block, const Tile& tile, int group) {
  const KeyRange keys = tile.seen[group];
  if (keys.begin >= keys.end) return {0, 0};
  const std::int64_t lane = group * kRunQueries;
  const std::int64_t lanes = std::min(kRunQueries, block.count - lane);
  const std::int64_t last = block.count - lane - lanes;  // row where the group's last lane meets key 0
  return {keys.begin - tile.begin + last, keys.end - tile.begin + last + lanes - 1};
}
inline int groups_of(const QueryBlock& block) { return (block.vectors + kGroupVectors - 1) / kGroupVectors; }

// Calls body(run of distances) for what the groups meet, each with all its distances.
template <class Body>
HWY_INLINE void for_bands(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                          const Body& body) {
  if (r.constant) return body(Run{0, 1, 0, block.vectors});
  for (int group = 0; group < groups_of(block); ++group) {
    const KeyRange band = band_of(block, tile, group);
    if (band.begin < band.end)
      body(Run{band.begin, band.end, group * kGroupVectors,
               std::min((group + 1) * kGroupVectors, block.vectors)});
  }
}

// The same cut the other way: each distance with all groups next to each other that meet it.
template <class Body>
HWY_INLINE void for_distance_runs(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                                  const Body& body) {
  if (r.constant) return body(Run{0, 1, 0, block.vectors});
  const int groups = groups_of(block);
  KeyRange bands[kGroups];
  for (int group = 0; group < groups; ++group) bands[group] = band_of(block, tile, group);
  for (std::int64_t begin = 0, end = 0; end < kBand; begin = end) {
    end = kBand;
    for (int group = 0; group < groups; ++group) {  // up to where the next band begins or ends
      if (bands[group].begin > begin) end = std::min(end, bands[group].begin);
      if (bands[group].end > begin) end = std::min(end, bands[group].end);
    }
    const auto meets = [&](int group) { return bands[group].begin <= begin && end <= bands[group].end; };
    for (int first = 0; first < groups; ++first) {
      int last = first;
      while (last < groups && meets(last)) ++last;
      if (last > first)
        body(Run{begin, end, first * kGroupVectors, std::min(last * kGroupVectors, block.vectors)});
      first = last;
    }
  }
}

// Calls out(n, x) for n of [begin, end): lane i of x is lane i of in(n - i). Lanes are taken 1, 2, 4, … rows
// further where that bit of their number is set.
template <class In, class Out>
HWY_INLINE void shear(std::int64_t begin, std::int64_t end, const In& in, const Out& out) {
  static_assert(kLanes == 4 || kLanes == 8 || kLanes == 16);
  const FloatTag f;
  const hn::Repartition<double, FloatTag> two;
  Floats before = hn::Zero(f), by1[2], by2[4], by3[8];
  for (Floats& x : by1) x = before;
  for (Floats& x : by2) x = before;
  for (Floats& x : by3) x = before;
  const auto next = [&](int k, Floats x) HWY_ATTR {
    Floats y = hn::OddEven(before, x);
    before = x;
    x = hn::BitCast(f, hn::OddEven(hn::BitCast(two, by1[k % 2]), hn::BitCast(two, y)));
    by1[k % 2] = y;
    if constexpr (kLanes == 4) return x;
    y = kLanes == 8 ? hn::ConcatUpperLower(f, by2[k % 4], x) : hn::OddEvenBlocks(by2[k % 4], x);
    by2[k % 4] = x;
    if constexpr (kLanes == 8) return y;
    x = hn::ConcatUpperLower(f, by3[k % 8], y);
    by3[k % 8] = y;
    return x;
  };
  for (int k = 0; k < kLanes; ++k) next(k, in(begin - kLanes + k));
  for (std::int64_t n = begin; n < end; n += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      if (n + k == end) return;
      out(n + k, next(k, in(n + k)));
    }
  }
}

// scores[key][query] += Σ_d A[distance][d]·query[d][query]
inline void add_relative(const RelativeTile& r, const QueryBlock& block, const Tile& tile, std::int64_t dim,
                         const float* query, const RelativeBuffers& buffers, float* scores) {
  const FloatTag f;
  for_distance_runs(r, block, tile, [&](const Run& run) HWY_ATTR {
    score_product(r.rows, dim, query, run, 0, buffers.panel);
  });
  for (int v = 0; v < block.vectors; ++v) {
    const KeyRange keys = tile.vector_keys(v);
    const float* panel = buffers.panel + v * kLanes;
    const auto add = [&](float* at, Floats x) HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(f, at), x), f, at); };
    float* first = scores - tile.begin * kQueries + v * kLanes;
    if (r.constant) {
      for (std::int64_t j = keys.begin; j < keys.end; ++j) add(first + j * kQueries, hn::LoadU(f, panel));
      continue;
    }
    // Where the first lane meets key 0; rows before the band are of lanes without a query.
    const std::int64_t row = block.count - 1 - v * kLanes - tile.begin;
    const std::int64_t least = band_of(block, tile, v / kGroupVectors).begin;
    shear(
        keys.begin + row, keys.end + row,
        [&](std::int64_t u) HWY_ATTR { return u < least ? hn::Zero(f) : hn::LoadU(f, panel + u * kQueries); },
        [&](std::int64_t u, Floats x) HWY_ATTR { add(first + (u - row) * kQueries, x); });
  }
}

// The way back: panel[distance][query] = Σ of `values` [key][query] of that distance.
inline void sum_by_distance(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                            const RelativeBuffers& buffers, const float* values) {
  const FloatTag f;
  for (int v = 0; v < block.vectors; ++v) {
    const KeyRange keys = tile.vector_keys(v);
    float* panel = buffers.panel + v * kLanes;
    const float* first = values - tile.begin * kQueries + v * kLanes;
    if (r.constant) {
      Floats sum = hn::Zero(f);
      for (std::int64_t j = keys.begin; j < keys.end; ++j)
        sum = hn::Add(sum, hn::LoadU(f, first + j * kQueries));
      hn::StoreU(sum, f, panel);
      continue;
    }
    // Against the order of keys lanes go one row further as well.
    const KeyRange band = band_of(block, tile, v / kGroupVectors);
    const std::int64_t row = block.count - 1 - v * kLanes - tile.begin;
    shear(
        row - band.end + 1, row - band.begin + 1,
        [&](std::int64_t n) HWY_ATTR {
          return -n < keys.begin || -n >= keys.end ? hn::Zero(f) : hn::LoadU(f, first - n * kQueries);
        },
        [&](std::int64_t n, Floats x) HWY_ATTR { hn::StoreU(x, f, panel + (row - n) * kQueries); });
  }
}

// out[query][d] += Σ_distance panel[distance][query]·C[distance][d], `width` columns of them.
inline void add_relative_product(const RelativeTile& r, const QueryBlock& block, const Tile& tile,
                                 std::int64_t width, const RelativeBuffers& buffers, bool partial,
                                 float* out) {
  const bool skip_zeros = partial && !all_finite(r.rows.data, r.count, r.rows.row, width);
  for_bands(r, block, tile, [&](const Run& band) HWY_ATTR {
    query_product<Start::load>(r.rows, width, buffers.panel, block, band, 0, nullptr, out, width, skip_zeros);
  });
}

// sums[distance][d] += Σ_query panel[distance][query]·rows[query][d]; `sums` holds rows of `table` from
// number `first` on, without gaps. May overwrite the buffer that the tile's rows may lie in.
inline void add_relative_gradient(const RelativeRows& table, const RelativeTile& r, const SequenceDesc& s,
                                  const QueryBlock& block, const Tile& tile, const Rows& rows,
                                  const RelativeBuffers& buffers, bool skip_zeros, std::int64_t first,
                                  float* sums) {
  const FloatTag f;
  const std::int64_t width = round_up(table.width);
  const auto add = [&](float* out, std::int64_t step) HWY_ATTR {
    for_distance_runs(r, block, tile, [&](const Run& run) HWY_ATTR {
      key_product(rows, width, buffers.panel, block, run, 0, out, skip_zeros, false, nullptr, step);
    });
  };
  if (r.whole && table.width == width) return add(sums + (table.number(r.top) - first) * width, s.step);
  std::fill(buffers.rows, buffers.rows + r.count * width, 0.f);
  add(buffers.rows, 1);
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
