// Attention's tiles in pairs of bfloat16, where the processor multiplies those: Q and dO are transposed by
// words, K and V are words where they lie, and what is summed over keys or queries has two of them in a row.
// Scores and all sums are float32; weights and dS are rounded once more, as factors.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_PAIRS_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_PAIRS_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_PAIRS_INL_H_
#endif

#include "kernels/cpu/attention_scores-inl.h"
#include "kernels/cpu/pair_products.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Pairs of keys are those of an even key and the next, whichever tile they are met in.
inline std::int64_t pair_begin(std::int64_t key) { return key / 2 * 2; }
// True when a row of pairs at either end of the tile may hold a key that is not the tile's.
inline bool shares_pairs(const Tile& tile) { return tile.begin % 2 != 0 || tile.end % 2 != 0; }

// Rows of bfloat16 as rows of dim/2 words: in place, or copied to `buffer`.
inline Rows word_rows(const HeadRows& from, const RowSpan& span, std::int64_t head, std::int64_t dim,
                      float* buffer, Place place = Place::anywhere) {
  const auto row = [&](std::int64_t r) {
    return static_cast<const char*>(from.at(DType::bfloat16, span.first + r * span.step, head));
  };
  if (place == Place::anywhere || from.row * span.step == dim)
    return {reinterpret_cast<const float*>(row(0)), from.row * span.step / 2};
  const auto bytes = static_cast<std::size_t>(dim) * sizeof(bfloat16);
  for (std::int64_t r = 0; r < span.count; ++r) std::memcpy(buffer + r * (dim / 2), row(r), bytes);
  return {buffer, dim / 2};
}

// Two rows of bfloat16 in each row of words, `width` of them with zeros at their end; half of the last row is
// 0 where their number is odd.
inline Rows joined_rows(const HeadRows& from, const RowSpan& span, std::int64_t head, std::int64_t dim,
                        float* buffer, std::int64_t width) {
  const auto row = [&](std::int64_t r) {
    return static_cast<const bfloat16*>(from.at(DType::bfloat16, span.first + r * span.step, head));
  };
  for (std::int64_t r = 0; r < span.count; r += 2)
    join_rows(row(r), r + 1 < span.count ? row(r + 1) : nullptr, dim, buffer + r / 2 * width, width);
  return {buffer, width};
}

// Of the weights [key][kQueries] that the tile's groups see, those of keys 2n and 2n + 1 from `begin` on,
// which is even, in row n of `out`, 0 for a key that a group does not see.
inline void join_keys(const QueryBlock& block, const Tile& tile, const float* weights, std::int64_t begin,
                      float* out) {
  const FloatTag f;
  for (int v = 0; v < block.vectors; ++v) {
    const KeyRange seen = tile.vector_keys(v);
    const auto weight = [&](std::int64_t j) HWY_ATTR {
      return j < seen.begin || j >= seen.end
                 ? hn::Zero(f)
                 : hn::LoadU(f, weights + (j - tile.begin) * kQueries + v * kLanes);
    };
    float* to = out + (pair_begin(seen.begin) - begin) / 2 * kQueries + v * kLanes;
    for (std::int64_t j = pair_begin(seen.begin); j < seen.end; j += 2, to += kQueries)
      hn::StoreU(join_halves(weight(j), weight(j + 1)), f, to);
  }
}

// The same for sums over queries: row j of `out` has the pairs of adjacent queries.
inline void join_queries(const QueryBlock& block, const Tile& tile, const float* weights, float* out) {
  const FloatTag f;
  for_scores(block, tile, const_cast<float*>(weights), [&](float* at, std::int64_t, int) HWY_ATTR {
    store_halves(hn::LoadU(f, at), out + (at - weights) / 2);
  });
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
