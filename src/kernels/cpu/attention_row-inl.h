// Attention of a single query, as step-by-step decoding asks for: vectors along the head dimension, since one
// query fills no vector of queries. Keys and values are read once, in tiles: values are fetched into the L2
// cache while keys are multiplied, and the next keys while values are. Long sequences are cut in ranges of
// keys, whose results are merged in order.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#endif

#include <cmath>
#include <type_traits>

#include "kernels/cpu/attention_row_products-inl.h"
#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Between two looks at the largest score, which may cost a rescaling of all outputs: the scores of 32 keys
// and 32 heads are 4 KiB of the L1 cache, and 32 keys of 8 heads with D = 128 are 128 KiB of the L2 cache.
constexpr std::int64_t kRowKeys = 32;

// float32 workspace, for all heads.
struct RowSpace {
  std::int64_t dim, value_dim, heads;                    // rounded up to vectors
  static constexpr std::int64_t kScores = kRowKeys + 4;  // of a head: products are stored four at a time
  explicit RowSpace(const AttentionArgs& a)
      : dim(round_up(a.dim)), value_dim(round_up(a.value_dim)), heads(a.heads) {}
  std::int64_t buffer() const { return kRowKeys * std::max(dim, value_dim); }
  std::int64_t total() const { return heads * (dim + value_dim + 2 + kScores) + buffer(); }
};

// Calls body(first head, heads as a constant) for the heads [begin, end), those of one key/value head, as
// many at a time as registers hold.
template <class Body>
HWY_INLINE void for_row_heads(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t h = begin;
  for (; h + kRowHeads <= end; h += kRowHeads) body(h, std::integral_constant<int, kRowHeads>());
  for (; h + 2 <= end; h += 2) body(h, std::integral_constant<int, 2>());
  for (; h < end; ++h) body(h, std::integral_constant<int, 1>());
}

// Calls body(first key, keys as a constant) for `count` keys.
template <class Body>
HWY_INLINE void for_row_keys(std::int64_t count, const Body& body) {
  std::int64_t j = 0;
  for (; j + kKeysTogether <= count; j += kKeysTogether)
    body(j, std::integral_constant<int, kKeysTogether>());
  if (count - j == 2) return body(j, std::integral_constant<int, 2>());
  if (count - j == 1) body(j, std::integral_constant<int, 1>());
}

// A tile's scores [keys][heads], of heads from h on, are capped, get their biases, and -inf where hidden.
// `scores` is as long as whole vectors.
inline void finish_row_scores(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                              std::int64_t heads, const Tile& tile, float* scores) {
  const FloatTag f;
  const float cap = static_cast<float>(a.softcap) * kLog2e;
  for (std::int64_t i = 0; cap > 0 && i < tile.keys() * heads; i += kLanes) {
    hn::StoreU(hn::Mul(hn::Set(f, cap), tanh(hn::Mul(hn::LoadU(f, scores + i), hn::Set(f, 1.f / cap)))), f,
               scores + i);
  }
  const auto* bias = static_cast<const float*>(a.bias);
  const auto* table = static_cast<const float*>(a.distances.data);
  if (!table && !bias && !tile.bits) return;
  for (std::int64_t j = 0; j < tile.keys(); ++j) {
    for (std::int64_t n = 0; n < heads; ++n) {
      float& score = scores[j * heads + n];
      if (table) {
        const std::int64_t distance = s.position - (tile.begin + j);
        score += kLog2e * table[(h + n) * a.distances.head + distance - a.distances.least];
      }
      if (bias) score = biased(score, bias[a.bias_strides.at(s.index, h + n, 0, tile.begin + j)]);
      if (tile.bits && !(tile.bits[j] & 1)) score = -kInfinity;
    }
  }
}

inline void store_row(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const float* row,
                      float lse) {
  static_cast<float*>(a.lse)[h * a.lse_rows + s.query_row(0)] = lse;
  store_row(a.dtype, a.o, s.query_row(0), h, a.value_dim, row, 1.f);
}

// Scores [count][heads], heads a divisor of the lanes, become weights: exp2(score - largest). Largest and
// total of each head go on; factors [kLanes], repeated, are what sums made before are worth now.
inline void exponentiate_rows(float* scores, std::int64_t count, std::int64_t heads, float* largest,
                              float* total, float* factors) {
  const FloatTag f;
  const std::int64_t size = count * heads;
  std::fill(scores + size, scores + round_up(size), -kInfinity);
  HWY_ALIGN float lanes[kLanes], tops[kLanes];
  for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = largest[lane % heads];
  const Floats before = hn::Load(f, lanes);
  Floats most = before;
  for (std::int64_t i = 0; i < size; i += kLanes) most = hn::Max(most, hn::LoadU(f, scores + i));
  hn::Store(most, f, lanes);
  for (std::int64_t lane = 0; lane < kLanes; ++lane)
    largest[lane % heads] = std::max(largest[lane % heads], lanes[lane]);
  // With nothing seen yet the maximum is -inf; subtracting a finite number instead leaves exp(-inf) = 0.
  for (std::int64_t lane = 0; lane < kLanes; ++lane) tops[lane] = std::max(largest[lane % heads], -1e30f);
  const Floats base = hn::Load(f, tops);
  Floats sums = hn::Zero(f);
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const Floats p = exp2(hn::Sub(hn::LoadU(f, scores + i), base));
    sums = hn::Add(sums, p);
    hn::StoreU(p, f, scores + i);
  }
  hn::StoreU(rescale_factor(before, base), f, factors);
  for (std::int64_t n = 0; n < heads; ++n) total[n] = total[n] * factors[n];
  hn::Store(sums, f, lanes);
  for (std::int64_t lane = 0; lane < kLanes; ++lane) total[lane % heads] += lanes[lane];
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
        largest(scores + sizes.heads * RowSpace::kScores),
        total(largest + sizes.heads),
        buffer(total + sizes.heads) {}

  void run(const KeyRange& range) {
    const FloatTag f;
    const Floats unit = hn::Set(f, static_cast<float>(a.scale) * kLog2e);
    for_blocks([&](std::int64_t, std::int64_t first, auto count) HWY_ATTR {
      for (int n = 0; n < count(); ++n) {
        float* to = query + first * sizes.dim + n * kLanes;
        with_rows(a.q, queries_of(s, 0, 1), h0 + first + n, a.dim, [&](auto q) HWY_ATTR {
          constexpr int kParts = kVectors<decltype(q)>;
          for (std::int64_t d = 0; d < sizes.dim; d += kParts * kLanes, q.data += kParts * kLanes) {
            for (int part = 0; part < kParts; ++part, to += count() * kLanes)
              hn::StoreU(hn::Mul(row_vector(q, 0, part), unit), f, to);
          }
        });
      }
    });
    std::fill(largest, largest + heads, -kInfinity);
    std::fill(total, total + heads, 0.f);
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
    const FloatTag f;
    for_blocks([&](std::int64_t, std::int64_t first, auto count) HWY_ATTR {
      for (int n = 0; n < count(); ++n) {
        const std::int64_t h = first + n;
        const auto vector = [&](std::int64_t d) HWY_ATTR {
          return hn::LoadU(f, output + first * sizes.value_dim + d * count() + n * kLanes);
        };
        if (in_halves(a.value_dim)) {
          for (std::int64_t d = 0; d < a.value_dim; d += kHalfLanes)
            hn::StoreInterleaved2(vector(d), vector(d + kLanes), f, buffer + d);
        } else {
          for (std::int64_t d = 0; d < sizes.value_dim; d += kLanes) hn::StoreU(vector(d), f, buffer + d);
        }
        // A query that sees nothing gives 0; a NaN among what it sees stays.
        const float inverse = total[h] == 0.f ? 0.f : 1.f / total[h];
        for (std::int64_t d = 0; d < a.value_dim; ++d)
          buffer[d] = total[h] == 0.f ? 0.f : buffer[d] * inverse;
        put(h0 + h, buffer, total[h] == 0.f ? -kInfinity : largest[h] * kLn2 + std::log(total[h]));
      }
    });
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

  // Calls body(key/value head, first head, heads as a constant).
  template <class Body>
  HWY_INLINE void for_blocks(const Body& body) const {
    for_groups([&](std::int64_t kv, std::int64_t begin, std::int64_t end) HWY_ATTR {
      for_row_heads(begin, end, [&](std::int64_t n, auto count) HWY_ATTR { body(kv, n, count); });
    });
  }

  bool in_halves(std::int64_t dim) const { return a.dtype == DType::bfloat16 && dim % kHalfLanes == 0; }

  // Calls body(rows) with rows of whole vectors: in place, or copied.
  template <class Body>
  HWY_INLINE void with_rows(const HeadRows& from, const RowSpan& span, std::int64_t head, std::int64_t dim,
                            const Body& body) const {
    if (!in_halves(dim)) return body(float_rows(a.dtype, from, span, head, dim, buffer, round_up(dim)));
    body(HalfRows{static_cast<const bfloat16*>(from.at(a.dtype, span.first, head)), from.row * span.step});
  }

  // Keys [begin, end) of a tensor, to be fetched.
  NextRows next_rows(const HeadRows& from, std::int64_t begin, std::int64_t end, std::int64_t head,
                     std::int64_t dim) const {
    if (begin >= end) return {};
    const auto size = static_cast<std::int64_t>(size_of(a.dtype));
    const auto* rows = static_cast<const char*>(from.at(a.dtype, s.key_row(begin), head));
    return {rows, rows, from.row * s.step * size, dim * size, end - begin};
  }

  // Calls body(block's first head, heads, keys, number of the first key in the tile, their rows, rows to be
  // fetched with them) for the keys of a tile, key/value head by key/value head: the queries or outputs of a
  // block then stay in the L1 cache. Where a group has several blocks, the first one fetches.
  template <class Next, class Body>
  HWY_INLINE void for_rows(const Tile& tile, const HeadRows& from, std::int64_t dim, const Next& next_of,
                           const Body& body) const {
    for_groups([&](std::int64_t kv, std::int64_t begin, std::int64_t end) HWY_ATTR {
      const NextRows next = next_of(kv);
      with_rows(from, keys_of(s, tile.begin, tile.keys()), kv, dim, [&](const auto& rows) HWY_ATTR {
        for_row_keys(tile.keys(), [&](std::int64_t j, auto keys) HWY_ATTR {
          for_row_heads(begin, end, [&](std::int64_t n, auto heads_now) HWY_ATTR {
            const NextRows now = n == begin ? next.from(j, keys()) : NextRows();
            body(n, heads_now, keys, j, rows_from(rows, j), now);
          });
        });
      });
    });
  }

  void score(const Tile& tile) {
    const auto values = [&](std::int64_t kv) {
      return next_rows(a.v, tile.begin, tile.end, kv, a.value_dim);
    };
    for_rows(tile, a.k, a.dim, values,
             [&](std::int64_t n, auto count, auto keys, std::int64_t j, const auto& rows,
                 const NextRows& next) HWY_ATTR {
               float* to = scores + n * RowSpace::kScores + j * count();
               row_products<count(), keys()>(query + n * sizes.dim, rows, sizes.dim, next, to);
             });
  }

  // Fetches the keys up to next_end.
  void add(const Tile& tile, std::int64_t next_end) {
    const auto keys_ahead = [&](std::int64_t kv) {
      return next_rows(a.k, tile.begin + kRowKeys, next_end, kv, a.dim);
    };
    for_rows(tile, a.v, a.value_dim, keys_ahead,
             [&](std::int64_t n, auto count, auto keys, std::int64_t j, const auto& rows,
                 const NextRows& next) HWY_ATTR {
               const float* weights = scores + n * RowSpace::kScores + j * count();
               float* to = output + n * sizes.value_dim;
               add_rows<count(), keys()>(weights, rows, sizes.value_dim, next, to);
             });
  }

  // The same where a hidden value may not be finite: a weight of 0 multiplies nothing.
  void add_seen(const Tile& tile) {
    for_blocks([&](std::int64_t kv, std::int64_t first, auto count) HWY_ATTR {
      for (std::int64_t i = 0; i < tile.keys() * count(); ++i) {
        const float* weight = scores + first * RowSpace::kScores + i;
        if (*weight == 0.f) continue;
        float* to = output + first * sizes.value_dim + i % count() * kLanes;
        with_rows(a.v, keys_of(s, tile.begin + i / count(), 1), kv, a.value_dim,
                  [&](const auto& row)
                      HWY_ATTR { add_rows<1, 1, count()>(weight, row, sizes.value_dim, {}, to); });
      }
    });
  }

  bool all_finite_values(const Tile& tile) const {
    bool finite = true;
    for_groups([&](std::int64_t kv, std::int64_t, std::int64_t) {
      const Rows v = float_rows(a.dtype, a.v, keys_of(s, tile.begin, tile.keys()), kv, a.value_dim, buffer,
                                sizes.value_dim);
      finite = finite && all_finite(v.data, tile.keys(), v.row, a.value_dim);
    });
    return finite;
  }

  // The keys of one tile; those up to next_end are fetched.
  void attend(const Tile& tile, std::int64_t next_end) {
    const FloatTag f;
    score(tile);
    for_blocks([&](std::int64_t, std::int64_t first, auto count) HWY_ATTR {
      float* own = scores + first * RowSpace::kScores;
      finish_row_scores(a, s, h0 + first, count(), tile, own);
      float factors[kLanes];
      exponentiate_rows(own, tile.keys(), count(), largest + first, total + first, factors);
      for (int n = 0; n < count(); ++n) {
        if (factors[n] == 1.f) continue;
        for (std::int64_t d = 0; d < sizes.value_dim; d += kLanes) {
          float* at = output + first * sizes.value_dim + d * count() + n * kLanes;
          hn::StoreU(hn::Mul(hn::LoadU(f, at), hn::Set(f, factors[n])), f, at);
        }
      }
    });
    if ((tile.bits || a.bias) && !all_finite_values(tile)) return add_seen(tile);
    add(tile, next_end);
  }

  const AttentionArgs& a;
  const SequenceDesc& s;
  std::int64_t h0, heads, group, first_kv;
  RowSpace sizes;
  // Of each block of heads: [D / kLanes][heads][kLanes], times scale·log2(e), and the same of Dv.
  float *query, *output;
  float *scores, *largest, *total;  // of each block [keys][heads], kScores apart for each head; [heads]
  float* buffer;
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
