// Counts the tiles that the other kernels would visit, by the same walk.
#include <headway/kernels/attention.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_summary.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

TileSummary summary(const AttentionArgs& a) {
  TileSummary out{.isa = hwy::TargetName(HWY_TARGET), .query_block = kQueries, .key_tile = kKeys};
  for (const SequenceDesc& sequence : a.sequences) {
    for_classes(a, sequence, [&](const SequenceDesc& s) {
      for (std::int64_t h = 0; h < a.heads; ++h) {
        for (std::int64_t first = 0; first < s.query_count; first += kQueries) {
          const QueryBlock block(first, s.query_count);
          for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) {
            ++(is_partial(a, s, block, tile) ? out.partial : out.full);
            for_runs(tile, [&](const Run& run) {
              const std::int64_t queries = std::min(run.last * kLanes, block.count) - run.first * kLanes;
              out.computed_pairs += static_cast<double>(run.keys() * queries);
            });
          });
        }
      }
    });
  }
  return out;
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(summary);
}  // namespace

TileSummary summarize_tiles(const AttentionArgs& args) { return HWY_DYNAMIC_DISPATCH(summary)(args); }
}  // namespace headway::inline v1::kernels
#endif
