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
  std::int64_t total() const { return heads * (dim + value_dim + 2 * kLanes + kScores) + buffer(); }
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
  if (a.softcap > 0) {
    const Softcap softcap(a.softcap);
    for (std::int64_t i = 0; i < tile.keys() * heads; i += kLanes)
      hn::StoreU(softcap.of(hn::LoadU(f, scores + i)), f, scores + i);
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

// Of lanes that repeat kHeads heads, the largest of each head.
template <int kHeads>
Floats largest_of_heads(Floats x) {
  const FloatTag f;
  if constexpr (kLanes >= 16 && kHeads < 16) x = hn::Max(x, hn::ConcatLowerUpper(f, x, x));
  if constexpr (kLanes >= 8 && kHeads < 8) x = hn::Max(x, hn::SwapAdjacentBlocks(x));
  if constexpr (kHeads < 4) x = hn::Max(x, hn::Shuffle1032(x));
  if constexpr (kHeads < 2) x = hn::Max(x, hn::Shuffle2301(x));
  return x;
}

// Scores [count][kHeads] become weights: exp2(score - largest). `largest` [kLanes] of each head, repeated,
// and `total` [kLanes], some of each head's sum in each of its lanes, go on. Returns what sums made before
// are worth now, repeated.
template <int kHeads>
Floats exponentiate_rows(float* scores, std::int64_t count, float* largest, float* total) {
  const FloatTag f;
  const std::int64_t size = count * kHeads;
  std::fill(scores + size, scores + round_up(size), -kInfinity);
  const Floats before = hn::LoadU(f, largest);
  Floats most = before;
  for (std::int64_t i = 0; i < size; i += kLanes) most = hn::Max(most, hn::LoadU(f, scores + i));
  most = largest_of_heads<kHeads>(most);
  // With nothing seen yet the maximum is -inf; subtracting a finite number instead leaves exp(-inf) = 0.
  const Floats base = hn::Max(most, hn::Set(f, -1e30f));
  Floats sums = hn::Zero(f);
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const Floats p = exp2(hn::Sub(hn::LoadU(f, scores + i), base));
    sums = hn::Add(sums, p);
    hn::StoreU(p, f, scores + i);
  }
  const Floats factor = rescale_factor(before, base);
  hn::StoreU(most, f, largest);
  hn::StoreU(hn::MulAdd(hn::LoadU(f, total), factor, sums), f, total);
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
        largest(scores + sizes.heads * RowSpace::kScores),
        total(largest + sizes.heads * kLanes),
        buffer(total + sizes.heads * kLanes) {}

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
    std::fill(largest, largest + heads * kLanes, -kInfinity);
    std::fill(total, total + heads * kLanes, 0.f);
    std::fill(output, output + heads * sizes.value_dim, 0.f);
    const QueryBlock block(0, 1);
    for_tiles(a, s, h0, block, range, [&](const Tile& whole) HWY_ATTR {
      for (std::int64_t begin = whole.begin; begin < whole.end; begin += kRowKeys) {
        Tile tile = Tile::of(begin, std::min(begin + kRowKeys, whole.end));
        tile.bits = whole.bits ? whole.bits + (begin - whole.begin) : nullptr;
        attend(tile, range.end);
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
        float sum = 0;
        for (std::int64_t lane = n; lane < kLanes; lane += count()) sum += total[first * kLanes + lane];
        // A query that sees nothing gives 0; a NaN among what it sees stays.
        if (sum == 0.f) {
          std::fill(buffer, buffer + a.value_dim, 0.f);
          put(h0 + h, buffer, -kInfinity);
        } else {
          store_row(buffer, a.value_dim, 1.f / sum, false, buffer);
          put(h0 + h, buffer, largest[first * kLanes + n] * kLn2 + std::log(sum));
        }
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

  // What is fetched of `count` keys from `begin` on while as many of a head are multiplied: theirs, or, where
  // all heads adjoin, as much in the order of memory, since a processor guesses what follows.
  NextRows next_rows(const HeadRows& from, std::int64_t begin, std::int64_t count, std::int64_t head,
                     std::int64_t dim) const {
    const auto size = static_cast<std::int64_t>(size_of(a.dtype));
    const bool adjoin = s.step == 1 && heads == a.heads && from.head == dim && from.row == dim * a.kv_heads;
    const std::int64_t before = adjoin ? head * count * dim : head * from.head;
    const auto* rows = static_cast<const char*>(from.at(a.dtype, s.key_row(begin), 0));
    return {rows + before * size, (adjoin ? dim : from.row * s.step) * size};
  }

  // Calls body(block's first head, heads, keys, number of the first key in the tile, their rows, rows to be
  // fetched with them) for the keys of a tile, key/value head by key/value head: the queries or outputs of a
  // block then stay in the L1 cache. Fetched are as many rows of `next` from key `next_begin` on.
  template <class Body>
  HWY_INLINE void for_rows(const Tile& tile, const HeadRows& from, std::int64_t dim, const HeadRows& next,
                           std::int64_t next_dim, std::int64_t next_begin, const Body& body) const {
    for_groups([&](std::int64_t kv, std::int64_t begin, std::int64_t end) HWY_ATTR {
      const NextRows ahead = next_rows(next, next_begin, tile.keys(), kv, next_dim);
      with_rows(from, keys_of(s, tile.begin, tile.keys()), kv, dim, [&](const auto& rows) HWY_ATTR {
        for_row_keys(tile.keys(), [&](std::int64_t j, auto keys) HWY_ATTR {
          const NextRows now = {ahead.rows + j * ahead.row, ahead.row};
          for_row_heads(begin, end, [&](std::int64_t n, auto heads_now) HWY_ATTR {
            body(n, heads_now, keys, j, rows_from(rows, j), now);
          });
        });
      });
    });
  }

  // Fetches the tile's values.
  void score(const Tile& tile) {
    for_rows(tile, a.k, a.dim, a.v, a.value_dim, tile.begin,
             [&](std::int64_t n, auto count, auto keys, std::int64_t j, const auto& rows,
                 const NextRows& next) HWY_ATTR {
               float* to = scores + n * RowSpace::kScores + j * count();
               row_products<count(), keys()>(query + n * sizes.dim, rows, sizes.dim, next, to);
             });
  }

  // Fetches the keys from next_begin on.
  void add(const Tile& tile, std::int64_t next_begin) {
    for_rows(tile, a.v, a.value_dim, a.k, a.dim, next_begin,
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
                  [&](const auto& row) HWY_ATTR {
                    const NextRows none = {reinterpret_cast<const char*>(row.data), 0};
                    add_rows<1, 1, count()>(weight, row, sizes.value_dim, none, to);
                  });
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

  // The keys of one tile; as many after it, before `end`, are fetched.
  void attend(const Tile& tile, std::int64_t end) {
    const FloatTag f;
    score(tile);
    for_blocks([&](std::int64_t, std::int64_t first, auto count) HWY_ATTR {
      float* own = scores + first * RowSpace::kScores;
      finish_row_scores(a, s, h0 + first, count(), tile, own);
      const Floats factor =
          exponentiate_rows<count()>(own, tile.keys(), largest + first * kLanes, total + first * kLanes);
      if (hn::AllTrue(f, hn::Eq(factor, hn::Set(f, 1.f)))) return;
      float factors[kLanes];
      hn::StoreU(factor, f, factors);
      float* row = output + first * sizes.value_dim;
      for (std::int64_t d = 0; d < sizes.value_dim; d += kLanes) {
        for (int n = 0; n < count(); ++n, row += kLanes)
          hn::StoreU(hn::Mul(hn::LoadU(f, row), hn::Set(f, factors[n])), f, row);
      }
    });
    if ((tile.bits || a.bias) && !all_finite_values(tile)) return add_seen(tile);
    add(tile, std::min(tile.end, end - tile.keys()));
  }

  const AttentionArgs& a;
  const SequenceDesc& s;
  std::int64_t h0, heads, group, first_kv;
  RowSpace sizes;
  // Of each block of heads: [D / kLanes][heads][kLanes], times scale·log2(e), and the same of Dv.
  float *query, *output;
  // Of each block [keys][heads], kScores apart for each head, and [kLanes], kLanes apart.
  float *scores, *largest, *total;
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
