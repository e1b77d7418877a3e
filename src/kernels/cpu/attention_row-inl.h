// Attention of a single query, as step-by-step decoding asks for: vectors along the head dimension, since one
// query fills no vector of queries. It is as fast as keys and values arrive. They are read once, key by key
// for all heads, which is how they lie in memory: a head's rows alone are a power of two apart and share a
// few sets of the cache. Values are fetched while keys are multiplied, and the next keys while values are.
// Long sequences are cut in ranges of keys, whose results are merged in order.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#endif

#include <cmath>
#include <type_traits>

#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Between two looks at the largest score, which may cost a rescaling of all outputs: the scores of 32 keys
// and 32 heads are 4 KiB of the L1 cache.
constexpr std::int64_t kRowKeys = 32;
constexpr std::int64_t kScoreKeys = 2;  // whose products are made at a time: with four heads, 8 accumulators
constexpr std::int64_t kSumKeys = 4;  // of which an output takes up its sum: a load and a store for four FMA
constexpr int kRowHeads = 4;

// float32 workspace, for all heads.
struct RowSpace {
  std::int64_t dim, value_dim, heads;  // rounded up to vectors
  explicit RowSpace(const AttentionArgs& a)
      : dim(round_up(a.dim)), value_dim(round_up(a.value_dim)), heads(a.heads) {}
  std::int64_t buffer() const { return std::max(kScoreKeys * dim, kRowKeys * value_dim); }
  std::int64_t total() const {
    return heads * (dim + value_dim + 2 + kRowKeys + kRowKeys * kLanes) + buffer() + kLanes * kRowKeys;
  }
};

// Fetches a row of a key/value head into the L2 cache. Always inlined, as prefetch_rows() is.
HWY_INLINE void fetch_row(DType dtype, const HeadRows& rows, std::int64_t row, std::int64_t head,
                          std::int64_t dim) {
  const auto* at = static_cast<const char*>(rows.at(dtype, row, head));
  const std::int64_t bytes = dim * static_cast<std::int64_t>(size_of(dtype));
  for (std::int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(at + line, 0, 2);
}

// Rows of bfloat16 where they lie.
struct HalfRows {
  const bfloat16* data;
  std::int64_t row;
};
HWY_INLINE Floats row_vector(const Rows& rows, int n, std::int64_t d) {
  return hn::LoadU(FloatTag(), rows.data + n * rows.row + d);
}
HWY_INLINE Floats row_vector(const HalfRows& rows, int n, std::int64_t d) {
  return load_floats(rows.data + n * rows.row + d);
}

// partial[h][j] = the lanes of query h · row j, for kHeads queries [kHeads][dim] and kCount rows.
template <int kHeads, int kCount, class AnyRows>
HWY_INLINE void row_products(const float* query, const AnyRows& keys, std::int64_t dim, float* partial) {
  const FloatTag f;
  Floats acc[kHeads][kCount];
  for (int h = 0; h < kHeads; ++h) {
    for (int n = 0; n < kCount; ++n) acc[h][n] = hn::Zero(f);
  }
  for (std::int64_t d = 0; d < dim; d += kLanes) {
    Floats row[kCount];
    for (int n = 0; n < kCount; ++n) row[n] = row_vector(keys, n, d);
    for (int h = 0; h < kHeads; ++h) {
      const Floats q = hn::LoadU(f, query + h * dim + d);
      for (int n = 0; n < kCount; ++n) acc[h][n] = hn::MulAdd(q, row[n], acc[h][n]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int n = 0; n < kCount; ++n) hn::StoreU(acc[h][n], f, partial + (h * kRowKeys + n) * kLanes);
  }
}

// out[h] += Σ_j weights[h][j]·row j over kCount rows.
template <int kHeads, int kCount, class AnyRows>
HWY_INLINE void add_rows(const float* weights, const AnyRows& values, std::int64_t dim, float* out) {
  const FloatTag f;
  Floats weight[kHeads][kCount];
  for (int h = 0; h < kHeads; ++h) {
    for (int n = 0; n < kCount; ++n) weight[h][n] = hn::Set(f, weights[h * kRowKeys + n]);
  }
  for (std::int64_t d = 0; d < dim; d += kLanes) {
    Floats row[kCount];
    for (int n = 0; n < kCount; ++n) row[n] = row_vector(values, n, d);
    for (int h = 0; h < kHeads; ++h) {
      Floats sum = hn::LoadU(f, out + h * dim + d);
      for (int n = 0; n < kCount; ++n) sum = hn::MulAdd(weight[h][n], row[n], sum);
      hn::StoreU(sum, f, out + h * dim + d);
    }
  }
}

// The same for one head, where a hidden value may not be finite: a weight of 0 multiplies nothing.
inline void add_seen_rows(const float* weights, const Rows& values, std::int64_t count, std::int64_t dim,
                          float* out) {
  const FloatTag f;
  for (std::int64_t j = 0; j < count; ++j) {
    if (weights[j] == 0.f) continue;
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      const Floats row = hn::LoadU(f, values.data + j * values.row + d);
      hn::StoreU(hn::MulAdd(hn::Set(f, weights[j]), row, hn::LoadU(f, out + d)), f, out + d);
    }
  }
}

// Calls body(first head, heads as a constant) for the heads [begin, end), those of one key/value head, as
// many at a time as registers hold.
template <class Body>
HWY_INLINE void for_row_heads(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t h = begin;
  for (; h + kRowHeads <= end; h += kRowHeads) body(h, std::integral_constant<int, kRowHeads>());
  for (; h + 2 <= end; h += 2) body(h, std::integral_constant<int, 2>());
  for (; h < end; ++h) body(h, std::integral_constant<int, 1>());
}

// scores[j] = the sum of the lanes of partial [count][kLanes], for all keys at once by a transpose.
inline void sum_lanes(const float* partial, std::int64_t count, float* by_lane, float* scores) {
  const FloatTag f;
  transpose(partial, kLanes, count, kLanes, 1.f, by_lane, kRowKeys);
  for (std::int64_t n = 0; n < count; n += kLanes) {
    Floats sum = hn::LoadU(f, by_lane + n);
    for (std::int64_t lane = 1; lane < kLanes; ++lane)
      sum = hn::Add(sum, hn::LoadU(f, by_lane + lane * kRowKeys + n));
    hn::StoreU(sum, f, scores + n);
  }
}

// A tile's scores are capped, get their biases, and -inf where hidden. `scores` is as long as whole vectors.
inline void finish_row(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const Tile& tile,
                       float* scores) {
  const FloatTag f;
  const float cap = static_cast<float>(a.softcap) * kLog2e;
  for (std::int64_t j = 0; cap > 0 && j < tile.keys(); j += kLanes) {
    hn::StoreU(hn::Mul(hn::Set(f, cap), tanh(hn::Mul(hn::LoadU(f, scores + j), hn::Set(f, 1.f / cap)))), f,
               scores + j);
  }
  const auto* bias = static_cast<const float*>(a.bias);
  const float* table = static_cast<const float*>(a.distances.data);
  if (table) table += h * a.distances.head + s.position - a.distances.least;
  if (!table && !bias && !tile.bits) return;
  for (std::int64_t j = 0; j < tile.keys(); ++j) {
    if (table) scores[j] += kLog2e * table[-(tile.begin + j)];
    if (bias) scores[j] = biased(scores[j], bias[a.bias_strides.at(s.index, h, 0, tile.begin + j)]);
    if (tile.bits && !(tile.bits[j] & 1)) scores[j] = -kInfinity;
  }
}

inline void store_row(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const float* row,
                      float lse) {
  static_cast<float*>(a.lse)[h * a.lse_rows + s.query_row(0)] = lse;
  store_row(a.dtype, a.o, s.query_row(0), h, a.value_dim, row, 1.f);
}

// One head's scores become weights: exp2(score - largest). Largest and total go on; returns what sums made
// before are worth now.
inline float exponentiate_row(float* scores, std::int64_t count, float& largest, float& total) {
  const FloatTag f;
  std::fill(scores + count, scores + round_up(count), -kInfinity);
  Floats tops = hn::Set(f, largest);
  for (std::int64_t j = 0; j < count; j += kLanes) tops = hn::Max(tops, hn::LoadU(f, scores + j));
  const float top = hn::GetLane(hn::MaxOfLanes(f, tops));
  // With nothing seen yet the maximum is -inf; subtracting a finite number instead leaves exp(-inf) = 0.
  const Floats base = hn::Set(f, std::max(top, -1e30f));
  Floats sums = hn::Zero(f);
  for (std::int64_t j = 0; j < count; j += kLanes) {
    const Floats p = exp2(hn::Sub(hn::LoadU(f, scores + j), base));
    sums = hn::Add(sums, p);
    hn::StoreU(p, f, scores + j);
  }
  const float factor = hn::GetLane(rescale_factor(hn::Set(f, largest), base));
  total = total * factor + hn::GetLane(hn::SumOfLanes(f, sums));
  largest = top;
  return factor;
}

// A single query over one range of keys, for heads [h0, h0 + heads).
class RowPass {
 public:
  RowPass(const AttentionArgs& args, const SequenceDesc& sequence, std::int64_t first_head,
          std::int64_t count, float* space)
      : a(args),
        s(sequence),
        h0(first_head),
        heads(count),
        group(args.heads / args.kv_heads),
        first_kv(first_head / group),
        sizes(args),
        query(space),
        output(query + sizes.heads * sizes.dim),
        scores(output + sizes.heads * sizes.value_dim),
        largest(scores + sizes.heads * kRowKeys),
        total(largest + sizes.heads),
        partial(total + sizes.heads),
        buffer(partial + sizes.heads * kRowKeys * kLanes),
        by_lane(buffer + sizes.buffer()) {}

  void run(const KeyRange& range) {
    const FloatTag f;
    const Floats unit = hn::Set(f, static_cast<float>(a.scale) * kLog2e);
    for (std::int64_t n = 0; n < heads; ++n) {
      const Rows q = float_rows(a.dtype, a.q, queries_of(s, 0, 1), h0 + n, a.dim, buffer, sizes.dim);
      for (std::int64_t d = 0; d < sizes.dim; d += kLanes)
        hn::StoreU(hn::Mul(hn::LoadU(f, q.data + d), unit), f, query + n * sizes.dim + d);
      largest[n] = -kInfinity;
      total[n] = 0;
    }
    std::fill(output, output + heads * sizes.value_dim, 0.f);
    const QueryBlock block(0, 1);
    for_tiles(a, s, h0, block, range, [&](const Tile& whole) HWY_ATTR {
      for (std::int64_t begin = whole.begin; begin < whole.end; begin += kRowKeys) {
        Tile tile = Tile::of(begin, std::min(begin + kRowKeys, whole.end));
        tile.bits = whole.bits ? whole.bits + (begin - whole.begin) : nullptr;
        attend(tile, std::min(tile.end + kRowKeys, range.end));
      }
    });
  }

  // Calls put(head, output, log-sum-exp).
  template <class Put>
  void finish(const Put& put) {
    for (std::int64_t n = 0; n < heads; ++n) {
      // A query that sees nothing gives 0; a NaN among what it sees stays.
      const float inverse = total[n] == 0.f ? 0.f : 1.f / total[n];
      float* row = output + n * sizes.value_dim;
      for (std::int64_t d = 0; d < a.value_dim; ++d) row[d] = total[n] == 0.f ? 0.f : row[d] * inverse;
      put(h0 + n, row, total[n] == 0.f ? -kInfinity : largest[n] * kLn2 + std::log(total[n]));
    }
  }

 private:
  // Calls body(key/value head, its heads [begin, end), counted from h0).
  template <class Body>
  HWY_INLINE void for_groups(const Body& body) const {
    std::int64_t kv = first_kv;
    for (std::int64_t begin = 0; begin < heads; ++kv) {
      const std::int64_t end = std::min((kv + 1) * group - h0, heads);
      body(kv, begin, end);
      begin = end;
    }
  }

  // Calls body(rows) with rows of whole vectors: in place, or copied.
  template <class Body>
  HWY_INLINE void with_rows(const HeadRows& from, std::int64_t j, int count, std::int64_t kv,
                            std::int64_t dim, std::int64_t width, const Body& body) const {
    const std::int64_t row = from.row * s.step;
    const void* at = from.at(a.dtype, s.key_row(j), kv);
    if (dim != width) return body(float_rows(a.dtype, from, keys_of(s, j, count), kv, dim, buffer, width));
    if (a.dtype == DType::float32) return body(Rows{static_cast<const float*>(at), row});
    body(HalfRows{static_cast<const bfloat16*>(at), row});
  }

  template <int kCount>
  HWY_INLINE void score_keys(std::int64_t j, std::int64_t at) {
    for_groups([&](std::int64_t kv, std::int64_t begin, std::int64_t end) HWY_ATTR {
      for (int n = 0; n < kCount; ++n) fetch_row(a.dtype, a.v, s.key_row(j + n), kv, a.value_dim);
      with_rows(a.k, j, kCount, kv, a.dim, sizes.dim, [&](const auto& rows) HWY_ATTR {
        for_row_heads(begin, end, [&](std::int64_t n, auto count) HWY_ATTR {
          row_products<decltype(count)::value, kCount>(query + n * sizes.dim, rows, sizes.dim,
                                                       partial + (n * kRowKeys + at) * kLanes);
        });
      });
    });
  }

  template <int kCount>
  HWY_INLINE void add_keys(std::int64_t j, std::int64_t at, std::int64_t next_end) {
    for_groups([&](std::int64_t kv, std::int64_t begin, std::int64_t end) HWY_ATTR {
      for (std::int64_t next = j + kRowKeys; next < std::min(j + kRowKeys + kCount, next_end); ++next)
        fetch_row(a.dtype, a.k, s.key_row(next), kv, a.dim);
      with_rows(a.v, j, kCount, kv, a.value_dim, sizes.value_dim, [&](const auto& rows) HWY_ATTR {
        for_row_heads(begin, end, [&](std::int64_t n, auto count) HWY_ATTR {
          add_rows<decltype(count)::value, kCount>(scores + n * kRowKeys + at, rows, sizes.value_dim,
                                                   output + n * sizes.value_dim);
        });
      });
    });
  }

  // The keys of one tile; those up to next_end are fetched.
  void attend(const Tile& tile, std::int64_t next_end) {
    const FloatTag f;
    std::int64_t j = tile.begin;
    for (; j + kScoreKeys <= tile.end; j += kScoreKeys) score_keys<kScoreKeys>(j, j - tile.begin);
    for (; j < tile.end; ++j) score_keys<1>(j, j - tile.begin);
    for (std::int64_t n = 0; n < heads; ++n) {
      float* own = scores + n * kRowKeys;
      sum_lanes(partial + n * kRowKeys * kLanes, tile.keys(), by_lane, own);
      finish_row(a, s, h0 + n, tile, own);
      const float factor = exponentiate_row(own, tile.keys(), largest[n], total[n]);
      if (factor == 1.f) continue;
      for (std::int64_t d = 0; d < sizes.value_dim; d += kLanes) {
        float* at = output + n * sizes.value_dim + d;
        hn::StoreU(hn::Mul(hn::LoadU(f, at), hn::Set(f, factor)), f, at);
      }
    }
    if ((tile.bits || a.bias) && !all_finite_values(tile)) return add_seen(tile);
    for (j = tile.begin; j + kSumKeys <= tile.end; j += kSumKeys)
      add_keys<kSumKeys>(j, j - tile.begin, next_end);
    for (; j < tile.end; ++j) add_keys<1>(j, j - tile.begin, next_end);
  }

  Rows tile_values(const Tile& tile, std::int64_t kv) const {
    return float_rows(a.dtype, a.v, keys_of(s, tile.begin, tile.keys()), kv, a.value_dim, buffer,
                      sizes.value_dim);
  }
  bool all_finite_values(const Tile& tile) const {
    bool finite = true;
    for_groups([&](std::int64_t kv, std::int64_t, std::int64_t) {
      const Rows v = tile_values(tile, kv);
      finite = finite && all_finite(v.data, tile.keys(), v.row, a.value_dim);
    });
    return finite;
  }
  void add_seen(const Tile& tile) {
    for_groups([&](std::int64_t kv, std::int64_t begin, std::int64_t end) {
      const Rows v = tile_values(tile, kv);
      for (std::int64_t n = begin; n < end; ++n)
        add_seen_rows(scores + n * kRowKeys, v, tile.keys(), sizes.value_dim, output + n * sizes.value_dim);
    });
  }

  const AttentionArgs& a;
  const SequenceDesc& s;
  std::int64_t h0, heads, group, first_kv;
  RowSpace sizes;
  float *query, *output;            // [heads][D], times scale·log2(e); [heads][Dv]
  float *scores, *largest, *total;  // [heads][kRowKeys], [heads], [heads]
  float *partial, *buffer, *by_lane;
};

// Head h of a sequence with one query, from its ranges of keys: `outputs` [ranges][Dv] and `sums` [ranges],
// of which the next range's are `out_step` and `sum_step` on. Weights are those of the softmax over the sums.
inline void merge_row(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t ranges,
                      const float* outputs, std::int64_t out_step, const float* sums, std::int64_t sum_step,
                      float* space) {
  const FloatTag f;
  float largest = -kInfinity, total = 0;
  for (std::int64_t r = 0; r < ranges; ++r) {
    const float sum = sums[r * sum_step];
    largest = std::isnan(sum) || sum > largest ? sum : largest;
  }
  const std::int64_t width = round_up(a.value_dim);
  std::fill(space, space + width, 0.f);
  for (std::int64_t r = 0; r < ranges; ++r) {
    if (sums[r * sum_step] == -kInfinity) continue;
    const float weight = std::exp(sums[r * sum_step] - largest);
    total += weight;
    for (std::int64_t d = 0; d < width; d += kLanes) {
      const Floats x = hn::LoadU(f, outputs + r * out_step + d);
      hn::StoreU(hn::MulAdd(hn::Set(f, weight), x, hn::LoadU(f, space + d)), f, space + d);
    }
  }
  for (std::int64_t d = 0; d < a.value_dim; ++d) space[d] = total == 0.f ? 0.f : space[d] / total;
  store_row(a, s, h, space, total == 0.f ? -kInfinity : largest + std::log(total));
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
