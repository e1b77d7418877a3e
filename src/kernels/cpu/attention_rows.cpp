// Attention of single queries: ranges of keys on all threads, and their results merged.
#include "kernels/cpu/attention_rows.h"

#include <cmath>
#include <vector>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_rows.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

std::int64_t row_floats(const AttentionArgs& a) { return RowSpace(a).total(); }

// Heads [h0, h0 + heads) of a range of keys of a sequence with one query.
void row_unit(const AttentionArgs& a, const RowRange& range, std::int64_t h0, std::int64_t heads,
              float* results, float* space) {
  RowPass pass(a, *range.sequence, h0, heads, space);
  pass.run({range.begin, range.end});
  if (range.ranges == 1) {
    return pass.finish(
        [&](std::int64_t h, const float* row, float lse) { store_row(a, *range.sequence, h, row, lse); });
  }
  const std::int64_t width = RowRange::width(a);
  pass.finish([&](std::int64_t h, const float* row, float lse) {
    float* own = results + range.results + h * width;
    copy_floats(row, a.value_dim, own);
    own[width - 1] = lse;
  });
}

// All heads of the sequence whose first range this is.
void row_merge(const AttentionArgs& a, const RowRange& first, const float* results, float* space) {
  const std::int64_t width = RowRange::width(a), step = a.heads * width;
  for (std::int64_t h = 0; h < a.heads; ++h) {
    const float* own = results + first.results + h * width;
    merge_row(a, *first.sequence, h, first.ranges, own, step, own + width - 1, step, space);
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(row_floats);
HWY_EXPORT(row_unit);
HWY_EXPORT(row_merge);

// Ranges of keys of the sequences with one query; each has room for its results where there are several.
std::vector<RowRange> ranges_of_rows(const AttentionArgs& args) {
  std::vector<RowRange> out;
  std::int64_t offset = 0;
  for (const SequenceDesc& s : args.sequences) {
    if (!is_row(args, s)) continue;
    const std::int64_t ranges = row_ranges(s);
    const std::int64_t step = ((s.key_count + ranges - 1) / ranges + kAttentionTileKeys - 1) /
                              kAttentionTileKeys * kAttentionTileKeys;
    for (std::int64_t r = 0; r < ranges; ++r) {
      out.push_back(
          {&s, ranges, std::min(r * step, s.key_count), std::min((r + 1) * step, s.key_count), offset});
      if (ranges > 1) offset += args.heads * RowRange::width(args);
    }
  }
  return out;
}

std::int64_t range_floats(const AttentionArgs& args, const std::vector<RowRange>& ranges) {
  return ranges.empty() ? 0 : ranges.back().results + args.heads * RowRange::width(args);
}

}  // namespace

std::int64_t rows_workspace(const AttentionArgs& args, int threads) {
  return HWY_DYNAMIC_DISPATCH(row_floats)(args) * threads + range_floats(args, ranges_of_rows(args));
}

void forward_rows(const AttentionArgs& args, float* workspace) {
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(row_floats)(args);
  const std::vector<RowRange> ranges = ranges_of_rows(args);
  float* results = workspace;
  float* spaces = results + range_floats(args, ranges);
  // Heads that a plan may tell apart go alone.
  const std::int64_t together = args.plan ? 1 : args.heads;
  const std::int64_t groups = args.heads / together;
  core::parallel_for(static_cast<std::int64_t>(ranges.size()) * groups, [&](std::int64_t unit) {
    HWY_DYNAMIC_DISPATCH(row_unit)
    (args, ranges[static_cast<std::size_t>(unit / groups)], unit % groups * together, together, results,
     spaces + core::thread_index() * floats);
  });
  for (std::size_t i = 0; i < ranges.size(); i += static_cast<std::size_t>(ranges[i].ranges)) {
    if (ranges[i].ranges > 1) HWY_DYNAMIC_DISPATCH(row_merge)(args, ranges[i], results, spaces);
  }
}
}  // namespace headway::inline v1::kernels
#endif
