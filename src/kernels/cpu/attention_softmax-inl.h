// The running softmax of a block of queries: its maximum, its sum and its output so far (Milakov & Gimelshein
// 2018), from the tiles of scores to O and the log-sum-exp.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_SOFTMAX_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_SOFTMAX_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_SOFTMAX_INL_H_
#endif

#include <cstring>

#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// What a block has summed up so far, by vectors of queries.
struct Sums {
  float *output, *largest, *total;  // [kQueries][Dv, rounded up], [kQueries], [kQueries]
};

// One vector of queries: scores [keys][kQueries] become exp2(score - largest), largest and total go on, and
// `rescale` is what sums made before are worth now. Four chains at a time hide the latency of max and add.
HWY_INLINE void exponentiate(float* scores, std::int64_t keys, float* largest, float* total, float* rescale) {
  const FloatTag f;
  const auto at = [&](std::int64_t j) { return hn::LoadU(f, scores + j * kQueries); };
  const Floats before = hn::LoadU(f, largest);
  Floats top0 = before, top1 = before, top2 = before, top3 = before;
  std::int64_t j = 0;
  for (; j + 4 <= keys; j += 4) {
    top0 = hn::Max(top0, at(j));
    top1 = hn::Max(top1, at(j + 1));
    top2 = hn::Max(top2, at(j + 2));
    top3 = hn::Max(top3, at(j + 3));
  }
  for (; j < keys; ++j) top0 = hn::Max(top0, at(j));
  const Floats top = hn::Max(hn::Max(top0, top1), hn::Max(top2, top3));
  // With nothing seen yet the maximum is -inf; subtracting a finite number instead leaves exp(-inf) = 0.
  const Floats base = hn::Max(top, hn::Set(f, -1e30f));
  const auto power = [&](std::int64_t key) HWY_ATTR {
    const Floats p = exp2(hn::Sub(at(key), base));
    hn::StoreU(p, f, scores + key * kQueries);
    return p;
  };
  const Floats factor = rescale_factor(before, base);
  Floats sum0 = hn::Zero(f), sum1 = sum0;
  for (j = 0; j + 2 <= keys; j += 2) {
    sum0 = hn::Add(sum0, power(j));
    sum1 = hn::Add(sum1, power(j + 1));
  }
  if (j < keys) sum0 = hn::Add(sum0, power(j));
  hn::StoreU(top, f, largest);
  const Floats sum = hn::Add(sum0, sum1);
  hn::StoreU(hn::MulAdd(hn::LoadU(f, total), factor, sum), f, total);
  hn::StoreU(factor, f, rescale);
}

// Takes up where other keys have left off: O and the log-sum-exp are a maximum, a sum of 1 and an output.
inline void resume(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                   std::int64_t width, const Sums& sums) {
  copy_rows(a.dtype, a.o, queries_of(s, block.begin, block.count), h, a.value_dim, sums.output, width);
  const auto* lse = static_cast<const float*>(a.lse) + h * a.lse_rows;
  for (std::int64_t i = 0; i < block.count; ++i) {
    const float before = lse[s.query_row(block.begin + i)];
    sums.largest[i] = before * kLog2e;
    sums.total[i] = before == -kInfinity ? 0.f : 1.f;
  }
}

// The log-sum-exp; and O of 0, even where a dropped -inf met a NaN, for a query that sees nothing.
inline void finish_rows(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                        const QueryBlock& block, const Sums& sums) {
  const FloatTag f;
  HWY_ALIGN float values[kQueries];
  for (int c = 0; c < block.vectors; ++c) {
    const Floats total = hn::LoadU(f, sums.total + c * kLanes);
    const Floats logs =
        hn::MulAdd(hn::LoadU(f, sums.largest + c * kLanes), hn::Set(f, kLn2), hn::Log(f, total));
    const Floats known = hn::IfThenElse(hn::IsNaN(total), total, logs);
    hn::Store(hn::IfThenElse(hn::Eq(total, hn::Zero(f)), hn::Set(f, -kInfinity), known), f,
              values + c * kLanes);
  }
  auto* lse = static_cast<float*>(a.lse) + h * a.lse_rows;
  for (std::int64_t i = 0; i < block.count; ++i) {
    const std::int64_t row = s.query_row(block.begin + i);
    lse[row] = values[i];
    if (sums.total[i] == 0.f)
      std::memset(const_cast<void*>(a.o.at(a.dtype, row, h)), 0,
                  static_cast<std::size_t>(a.value_dim) * size_of(a.dtype));
  }
}

// O = output / total.
inline void store_output(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                         const QueryBlock& block, std::int64_t width, const Sums& sums) {
  for (std::int64_t i = 0; i < block.count; ++i) {
    store_row(a.dtype, a.o, s.query_row(block.begin + i), h, a.value_dim, sums.output + i * width,
              1.f / sums.total[i]);
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
