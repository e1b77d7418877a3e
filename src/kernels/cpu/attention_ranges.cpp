#include "kernels/cpu/attention_ranges.h"

#include <algorithm>
#include <span>
#include <type_traits>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_units.h"

namespace headway::inline v1::kernels {
namespace {

// The rows of a table that a sequence's pairs can reach.
struct TableRange {
  std::int64_t first, count;
  TableRange(const RelativeRows& rows, const SequenceDesc& s) {
    const std::int64_t last = rows.number(s.distance(0, s.key_count - 1));
    first = std::max<std::int64_t>(rows.number(s.distance(s.query_count - 1, 0)), 0);
    count = std::max<std::int64_t>(std::min(last + 1, rows.count) - first, 0);
  }
};

// Adds the parts of dQ, or of dQ' where `second`, block by block of queries: those that a range has met.
void add_queries(const AttentionGradArgs& args, const Plan& plan, std::size_t first, std::size_t last,
                 const float* partials, bool second, const HeadRows& to) {
  const AttentionArgs& a = args.forward;
  const SequenceDesc& s = a.sequences[plan.units[first].sequence];
  const PartialQueries sizes(a, s);
  core::parallel_for(a.heads * sizes.blocks, [&](std::int64_t unit) {
    const std::int64_t h = unit / sizes.blocks, block = unit % sizes.blocks;
    std::vector<const float*> parts;
    for (std::size_t u = first; u < last; ++u) {
      const float* part = partials + plan.units[u].partial;
      if (part[sizes.met() + unit] != 0.f) parts.push_back(part + (second ? sizes.rows : 0));
    }
    const std::int64_t begin = block * TilePlan::kQueries;
    std::vector<float> sums(static_cast<std::size_t>(a.dim));
    float* total = sums.data();
    for (std::int64_t i = begin; i < std::min(begin + TilePlan::kQueries, s.query_count); ++i) {
      void* out = const_cast<void*>(to.at(a.dtype, s.query_begin + i, h));
      const auto sum_up = [&](auto* row) {
        using Number = std::remove_pointer_t<decltype(row)>;
        std::fill(total, total + a.dim, 0.f);
        for (const float* part : parts) {
          const float* from = part + (h * s.query_count + i) * a.dim;
          for (std::int64_t d = 0; d < a.dim; ++d) total[d] += from[d];
        }
        for (std::int64_t d = 0; d < a.dim; ++d) row[d] = Number(total[d]);
      };
      if (a.dtype == DType::bfloat16) {
        sum_up(static_cast<bfloat16*>(out));
      } else {
        sum_up(static_cast<float*>(out));
      }
    }
  });
}

// Appends the units of one sequence, to the last wave while there is room for their sums.
void add_units(const AttentionGradArgs& args, std::span<KeyUnit> units, Plan& plan) {
  // Sums of so many floats (64 MiB) are held at once, or those of one sequence: a few per cent of what the
  // training of such batches holds anyway, and waves are long enough that their ends do not matter.
  constexpr std::int64_t kWave = std::int64_t{1} << 24;
  const AttentionArgs& a = args.forward;
  const std::int64_t sums = a.heads * HeadLayout(args, a.sequences[units.front().sequence]).total();
  const auto more = sums * static_cast<std::int64_t>(units.size());
  if (plan.waves.empty() || plan.held + more > kWave) {
    plan.waves.push_back({plan.units.size(), plan.units.size()});
    plan.held = 0;
  }
  for (KeyUnit& unit : units) {
    unit.sums = plan.held;
    plan.held += sums;
  }
  plan.units.insert(plan.units.end(), units.begin(), units.end());
  plan.sums_floats = std::max(plan.sums_floats, plan.held);
  plan.waves.back().end = plan.units.size();
}

}  // namespace

BackwardExtent::BackwardExtent(const AttentionArgs& a) : all_keys(a.heads > a.kv_heads || a.plan) {
  for (const SequenceDesc& s : a.sequences) {
    queries = std::max(queries, s.query_count);
    keys = std::max(keys, s.key_count);
  }
}

HeadLayout::HeadLayout(const AttentionGradArgs& args, const SequenceDesc& s) {
  const AttentionArgs& a = args.forward;
  if (args.ddistances) distances = DistanceSpan(s).count;
  if (args.d_relative_keys) {
    const TableRange range(a.relative_keys, s);
    keys = range.count * a.relative_keys.width;
    first_key_row = range.first;
  }
  if (args.d_relative_values) {
    const TableRange range(a.relative_values, s);
    values = range.count * a.relative_values.width;
    first_value_row = range.first;
  }
  if (args.d_modifier) parameters = a.modifier->parameters().numel();
}

Plan plan_ranges(const AttentionGradArgs& args) {
  const AttentionArgs& a = args.forward;
  Plan plan;
  for (std::size_t i = 0; has_whole_tiles(a) && i < a.sequences.size(); ++i) {
    const SequenceDesc& s = a.sequences[i];
    const std::int64_t ranges = a.kv_heads >= 4 ? 1 : std::clamp<std::int64_t>(s.key_count / 512, 1, 4);
    const std::int64_t tiles = (s.key_count + kAttentionTileKeys - 1) / kAttentionTileKeys;
    const std::int64_t step = std::max<std::int64_t>((tiles + ranges - 1) / ranges, 1) * kAttentionTileKeys;
    std::vector<KeyUnit> units;
    for (std::int64_t begin = 0; begin < std::max<std::int64_t>(s.key_count, 1); begin += step) {
      units.push_back(
          {i, false, begin, std::min(begin + step, s.key_count), ranges > 1 ? plan.partial_floats : -1, 0});
      if (ranges > 1) plan.partial_floats += PartialQueries(a, s).floats();
    }
    add_units(args, units, plan);
  }
  return plan;
}

Plan plan_classes(const AttentionGradArgs& args) {
  constexpr std::int64_t kMostUnits = 16;  // so 16 threads have one each; every one has sums of its own
  const AttentionArgs& a = args.forward;
  Plan plan;
  for (std::size_t i = 0; has_classes(a) && i < a.sequences.size(); ++i) {
    const std::int64_t classes = a.plan->step(), each = (classes + kMostUnits - 1) / kMostUnits;
    std::vector<KeyUnit> units;
    for (std::int64_t begin = 0; begin < classes; begin += each)
      units.push_back({i, true, begin, std::min(begin + each, classes), -1, 0});
    add_units(args, units, plan);
  }
  return plan;
}

bool bias_is_shared(const AttentionGradArgs& args, const Plan& plan) {
  if (!args.dbias) return false;
  const bool cut = plan.units.size() > args.forward.sequences.size() || has_classes(args.forward);
  return (args.bias_batches == 1 && args.forward.sequences.size() > 1) ||
         (args.bias_heads == 1 && args.forward.heads > 1) || (args.dbias_strides.key == 0 && cut);
}

void add_partials(const AttentionGradArgs& args, const Plan& plan, const float* partials) {
  const AttentionArgs& a = args.forward;
  for (std::size_t first = 0; first < plan.units.size();) {
    std::size_t last = first + 1;
    while (last < plan.units.size() && plan.units[last].sequence == plan.units[first].sequence) ++last;
    const bool cut = plan.units[first].partial >= 0;
    if (cut && args.dq.data) add_queries(args, plan, first, last, partials, false, args.dq);
    if (cut && a.relative_keys.data)
      add_queries(args, plan, first, last, partials, true, args.d_relative_query);
    first = last;
  }
}

void add_sums(const AttentionGradArgs& args, const Plan& plan, const Wave& wave, const float* sums) {
  const AttentionArgs& a = args.forward;
  // One head after another: they may share their rows.
  const auto add = [](const float* in, std::int64_t count, float factor, float* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] += in[i] * factor;
  };
  for (std::size_t u = wave.begin; u < wave.end; ++u) {
    const SequenceDesc& s = a.sequences[plan.units[u].sequence];
    const HeadLayout layout(args, s);
    for (std::int64_t h = 0; h < a.heads; ++h) {
      const float* in = sums + plan.units[u].sums + h * layout.total();
      const auto add_rows = [&](const RelativeRows& table, std::int64_t first, std::int64_t floats,
                                float factor, void* out) {
        for (std::int64_t r = 0; r < floats / table.width; ++r)
          add(in + r * table.width, table.width, factor,
              static_cast<float*>(out) + h * table.head + (first + r) * table.row);
        in += floats;
      };
      if (layout.distances > 0) {
        add(in, layout.distances - DistanceBias::kPadding, 1.f,
            static_cast<float*>(args.ddistances) + h * a.distances.head + DistanceSpan(s).least -
                a.distances.least);
      }
      in += layout.distances;
      if (layout.keys > 0)
        add_rows(a.relative_keys, layout.first_key_row, layout.keys, static_cast<float>(a.scale),
                 args.d_relative_keys);
      if (layout.values > 0)
        add_rows(a.relative_values, layout.first_value_row, layout.values, 1.f, args.d_relative_values);
      if (layout.parameters > 0) add(in, layout.parameters, 1.f, static_cast<float*>(args.d_modifier));
    }
  }
}

}  // namespace headway::inline v1::kernels
