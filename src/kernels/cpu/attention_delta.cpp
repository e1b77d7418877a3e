// delta = Σ_d dO∘O - dlse, a number for each query and head: what every dS of its row has subtracted. The
// log-sum-exp's part is there because d lse / dS = P, so that dS = P∘(dP - Σ dO∘O) + dlse·P.
#include <headway/core/parallel.h>

#include "kernels/cpu/attention_ranges.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_delta.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

void delta_unit(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h) {
  const AttentionArgs& a = args.forward;
  const FloatTag f;
  auto* delta = static_cast<float*>(args.delta) + h * a.lse_rows + s.query_begin;
  const auto* d_lse =
      args.d_lse ? static_cast<const float*>(args.d_lse) + h * a.lse_rows + s.query_begin : nullptr;
  for (std::int64_t i = 0; i < s.query_count; ++i) {
    const void* o = a.o.at(a.dtype, s.query_begin + i, h);
    const void* g = args.d_o.at(a.dtype, s.query_begin + i, h);
    float total = 0;
    std::int64_t d = 0;
    if (a.dtype == DType::float32) {
      Floats sum = hn::Zero(f);
      for (; d + kLanes <= a.value_dim; d += kLanes) {
        sum = hn::MulAdd(hn::LoadU(f, static_cast<const float*>(o) + d),
                         hn::LoadU(f, static_cast<const float*>(g) + d), sum);
      }
      total = hn::GetLane(hn::SumOfLanes(f, sum));
      for (; d < a.value_dim; ++d) total += static_cast<const float*>(o)[d] * static_cast<const float*>(g)[d];
    } else {
      for (; d < a.value_dim; ++d) {
        total += static_cast<float>(static_cast<const bfloat16*>(o)[d]) *
                 static_cast<float>(static_cast<const bfloat16*>(g)[d]);
      }
    }
    delta[i] = d_lse ? total - d_lse[i] : total;
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(delta_unit);
}  // namespace

void sum_delta(const AttentionGradArgs& args) {
  const AttentionArgs& a = args.forward;
  core::parallel_for(static_cast<std::int64_t>(a.sequences.size()) * a.heads, [&](std::int64_t unit) {
    HWY_DYNAMIC_DISPATCH(delta_unit)
    (args, a.sequences[static_cast<std::size_t>(unit / a.heads)], unit % a.heads);
  });
}
}  // namespace headway::inline v1::kernels
#endif
