#include "kernels/cpu/attention_ranges.h"

#include <algorithm>

#include <headway/core/parallel.h>

namespace headway::inline v1::kernels {

Plan plan_keys(const AttentionArgs& a) {
  Plan plan;
  for (std::size_t i = 0; i < a.sequences.size(); ++i) {
    const SequenceDesc& s = a.sequences[i];
    const std::int64_t ranges = a.kv_heads >= 4 ? 1 : std::clamp<std::int64_t>(s.key_count / 512, 1, 4);
    const std::int64_t tiles = (s.key_count + kAttentionTileKeys - 1) / kAttentionTileKeys;
    const std::int64_t step = std::max<std::int64_t>((tiles + ranges - 1) / ranges, 1) * kAttentionTileKeys;
    for (std::int64_t begin = 0; begin < std::max<std::int64_t>(s.key_count, 1); begin += step) {
      plan.units.push_back({i, begin, std::min(begin + step, s.key_count),
                            ranges > 1 ? plan.partial_floats : -1, plan.distance_floats});
      plan.distance_floats += a.heads * DistanceSpan(s).count;
      if (ranges > 1) plan.partial_floats += a.heads * s.query_count * a.dim;
    }
  }
  return plan;
}

bool bias_is_shared(const AttentionGradArgs& args) {
  return args.dbias && ((args.bias_batches == 1 && args.forward.sequences.size() > 1) ||
                        (args.bias_heads == 1 && args.forward.heads > 1));
}

void add_partials(const AttentionGradArgs& args, const Plan& plan, const float* partials) {
  const AttentionArgs& a = args.forward;
  for (std::size_t first = 0; first < plan.units.size();) {
    std::size_t last = first + 1;
    while (last < plan.units.size() && plan.units[last].sequence == plan.units[first].sequence) ++last;
    const SequenceDesc& s = a.sequences[plan.units[first].sequence];
    if (plan.units[first].partial >= 0 && args.dq.data) {
      core::parallel_for(a.heads * s.query_count, [&](std::int64_t unit) {
        const std::int64_t h = unit / s.query_count;
        const std::int64_t i = unit % s.query_count;
        void* out = const_cast<void*>(args.dq.at(a.dtype, s.query_begin + i, h));
        for (std::int64_t d = 0; d < a.dim; ++d) {
          float total = 0;
          for (std::size_t u = first; u < last; ++u)
            total += partials[plan.units[u].partial + unit * a.dim + d];
          if (a.dtype == DType::bfloat16) {
            static_cast<bfloat16*>(out)[d] = bfloat16(total);
          } else {
            static_cast<float*>(out)[d] = total;
          }
        }
      });
    }
    first = last;
  }
}

void add_distances(const AttentionGradArgs& args, const Plan& plan, const float* sums) {
  const AttentionArgs& a = args.forward;
  core::parallel_for(a.heads, [&](std::int64_t h) {
    float* out = static_cast<float*>(args.ddistances) + h * a.distances.head;
    for (const KeyUnit& unit : plan.units) {
      const DistanceSpan span(a.sequences[unit.sequence]);
      const float* in = sums + unit.distances + h * span.count;
      for (std::int64_t d = 0; d < span.count - DistanceBias::kPadding; ++d)
        out[span.least - a.distances.least + d] += in[d];
    }
  });
}

}  // namespace headway::inline v1::kernels
