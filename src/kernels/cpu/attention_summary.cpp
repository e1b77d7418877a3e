// Counts the tiles that the other kernels would visit, by the same walk.
#include <headway/kernels/attention.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_summary.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_relative-inl.h"
#include "kernels/cpu/pair_products.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

double relative_pairs(const RelativeRows& rows, const SequenceDesc& s, const QueryBlock& block,
                      const Tile& tile) {
  if (rows.count == 0) return 0;
  double pairs = 0;
  for_bands(RelativeTile(rows, s, block, tile), block, tile, [&](const Run& band) {
    const std::int64_t queries = std::min(band.last * kLanes, block.count) - band.first * kLanes;
    pairs += static_cast<double>(band.keys() * queries);
  });
  return pairs;
}

TileSummary summary(const AttentionArgs& a) {
  TileSummary out{.isa = hwy::TargetName(HWY_TARGET),
                  .pairs = in_pairs(a) && std::any_of(a.sequences.begin(), a.sequences.end(),
                                                      [&](const SequenceDesc& s) { return !is_row(a, s); }),
                  .query_block = kQueries,
                  .key_tile = kKeys};
  for (const SequenceDesc& sequence : a.sequences) {
    for_classes(a, sequence, [&](const SequenceDesc& s) {
      for (std::int64_t h = 0; h < a.heads; ++h) {
        for (std::int64_t first = 0; first < s.query_count; first += kQueries) {
          const QueryBlock block(first, s.query_count);
          for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) {
            ++(is_partial(s, block, tile) || a.bias ? out.partial : out.full);
            for_runs(tile, [&](const Run& run) {
              const std::int64_t queries = std::min(run.last * kLanes, block.count) - run.first * kLanes;
              out.computed_pairs += static_cast<double>(run.keys() * queries);
            });
            out.relative_keys += relative_pairs(a.relative_keys, s, block, tile);
            out.relative_values += relative_pairs(a.relative_values, s, block, tile);
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
