// Attention of a single query, as step-by-step decoding asks for: vectors along the head dimension, since one
// query fills no vector of queries. Keys and values are read once, where they lie.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_ROW_INL_H_
#endif

#include <cmath>

#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// float32 workspace.
struct RowSpace {
  std::int64_t dim, value_dim;  // rounded up to vectors
  explicit RowSpace(const AttentionArgs& a) : dim(round_up(a.dim)), value_dim(round_up(a.value_dim)) {}
  std::int64_t total() const { return dim + value_dim + kKeys + kKeys * (dim + value_dim); }
};

// scores[j] = query·row j, for rows of whole vectors.
inline void row_scores(const float* query, const Rows& keys, std::int64_t count, std::int64_t dim,
                       float* scores) {
  const FloatTag f;
  std::int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    const float* k = keys.data + j * keys.row;
    Floats sum0 = hn::Zero(f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      const Floats q = hn::LoadU(f, query + d);
      sum0 = hn::MulAdd(q, hn::LoadU(f, k + d), sum0);
      sum1 = hn::MulAdd(q, hn::LoadU(f, k + keys.row + d), sum1);
      sum2 = hn::MulAdd(q, hn::LoadU(f, k + 2 * keys.row + d), sum2);
      sum3 = hn::MulAdd(q, hn::LoadU(f, k + 3 * keys.row + d), sum3);
    }
    scores[j] = hn::GetLane(hn::SumOfLanes(f, sum0));
    scores[j + 1] = hn::GetLane(hn::SumOfLanes(f, sum1));
    scores[j + 2] = hn::GetLane(hn::SumOfLanes(f, sum2));
    scores[j + 3] = hn::GetLane(hn::SumOfLanes(f, sum3));
  }
  for (; j < count; ++j) {
    Floats sum = hn::Zero(f);
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      sum = hn::MulAdd(hn::LoadU(f, query + d), hn::LoadU(f, keys.data + j * keys.row + d), sum);
    }
    scores[j] = hn::GetLane(hn::SumOfLanes(f, sum));
  }
}

// out = out·factor + Σ_j weights[j]·row j. A weight of 0 multiplies nothing: its row may be hidden, and not
// finite.
inline void add_weighted_rows(const float* weights, const Rows& values, std::int64_t count, std::int64_t dim,
                              float factor, float* out) {
  const FloatTag f;
  constexpr int kChunk = 4;  // vectors of `out` in registers
  for (std::int64_t begin = 0; begin < dim; begin += kChunk * kLanes) {
    const int vectors = static_cast<int>(std::min<std::int64_t>((dim - begin) / kLanes, kChunk));
    Floats acc[kChunk];
    for (int v = 0; v < kChunk; ++v) {
      acc[v] =
          v < vectors ? hn::Mul(hn::LoadU(f, out + begin + v * kLanes), hn::Set(f, factor)) : hn::Zero(f);
    }
    for (std::int64_t j = 0; j < count; ++j) {
      if (weights[j] == 0.f) continue;
      const Floats weight = hn::Set(f, weights[j]);
      const float* row = values.data + j * values.row + begin;
      if (vectors == kChunk) {
        for (int v = 0; v < kChunk; ++v) acc[v] = hn::MulAdd(weight, hn::LoadU(f, row + v * kLanes), acc[v]);
      } else {
        for (int v = 0; v < kChunk; ++v) {
          if (v < vectors) acc[v] = hn::MulAdd(weight, hn::LoadU(f, row + v * kLanes), acc[v]);
        }
      }
    }
    for (int v = 0; v < vectors; ++v) hn::StoreU(acc[v], f, out + begin + v * kLanes);
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
  for (std::int64_t j = 0; j < tile.keys(); ++j) {
    if (table) scores[j] += kLog2e * table[-(tile.begin + j)];
    if (bias) scores[j] = biased(scores[j], bias[a.bias_strides.at(s.index, h, 0, tile.begin + j)]);
    if (tile.bits && !(tile.bits[j] & 1)) scores[j] = -kInfinity;
  }
}

// True when a sequence is one that attend_row() takes.
inline bool is_row(const AttentionArgs& a, const SequenceDesc& s) {
  return s.query_count == 1 && s.step == 1 && !a.dropout.threshold && !a.relative_keys.data &&
         !a.relative_values.data && !a.modifier;
}

// Head h of a sequence with one query.
inline void attend_row(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, float* space) {
  const FloatTag f;
  const RowSpace sizes(a);
  float* query = space;  // times scale·log2(e)
  float* output = query + sizes.dim;
  float* scores = output + sizes.value_dim;
  float* key_buffer = scores + kKeys;
  float* value_buffer = key_buffer + kKeys * sizes.dim;
  const std::int64_t kv = h * a.kv_heads / a.heads;

  const Rows q = float_rows(a.dtype, a.q, queries_of(s, 0, 1), h, a.dim, key_buffer, sizes.dim);
  for (std::int64_t d = 0; d < sizes.dim; d += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(f, q.data + d), hn::Set(f, static_cast<float>(a.scale) * kLog2e)), f,
               query + d);
  }
  std::fill(output, output + sizes.value_dim, 0.f);
  float largest = -kInfinity, total = 0;
  for_tiles(a, s, h, QueryBlock(0, 1), {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
    const std::int64_t count = tile.keys();
    const RowSpan keys = keys_of(s, tile.begin, count);
    const Rows k = float_rows(a.dtype, a.k, keys, kv, a.dim, key_buffer, sizes.dim);
    const Rows v = float_rows(a.dtype, a.v, keys, kv, a.value_dim, value_buffer, sizes.value_dim);
    row_scores(query, k, count, sizes.dim, scores);
    finish_row(a, s, h, tile, scores);
    std::fill(scores + count, scores + round_up(count), -kInfinity);
    Floats tops = hn::Set(f, largest);
    for (std::int64_t j = 0; j < count; j += kLanes) tops = hn::Max(tops, hn::LoadU(f, scores + j));
    const float top = hn::GetLane(hn::MaxOfLanes(f, tops));
    const Floats base = hn::Set(f, std::max(top, -1e30f));
    Floats sums = hn::Zero(f);
    for (std::int64_t j = 0; j < count; j += kLanes) {
      const Floats p = exp2(hn::Sub(hn::LoadU(f, scores + j), base));
      sums = hn::Add(sums, p);
      hn::StoreU(p, f, scores + j);
    }
    const float factor = hn::GetLane(exp2(hn::Sub(hn::Set(f, largest), base)));
    total = total * factor + hn::GetLane(hn::SumOfLanes(f, sums));
    add_weighted_rows(scores, v, count, sizes.value_dim, factor, output);
    largest = top;
  });

  // A query that sees nothing gives 0; a NaN among what it sees stays.
  const float inverse = total == 0.f ? 0.f : 1.f / total;
  for (std::int64_t d = 0; d < a.value_dim; ++d) output[d] = total == 0.f ? 0.f : output[d] * inverse;
  static_cast<float*>(a.lse)[h * a.lse_rows + s.query_begin] =
      total == 0.f ? -kInfinity : largest * kLn2 + std::log(total);
  void* out = const_cast<void*>(a.o.at(a.dtype, s.query_begin, h));
  if (a.dtype == DType::float32) {
    std::memcpy(out, output, static_cast<std::size_t>(a.value_dim) * sizeof(float));
  } else {
    from_floats(output, a.value_dim, static_cast<bfloat16*>(out));
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
