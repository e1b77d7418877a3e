// One pass over the tiles gives dQ, dK and dV; probabilities are recomputed from the log-sum-exp (Dao et al.
// 2022, algorithm 4). A unit is (sequence, key/value head, range of keys); it keeps its own sums, and ranges
// are added in order. Classes of a plan that gathers come after all ranges: each adds to rows of its own.
#include <headway/kernels/attention.h>

#include <cmath>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_ranges.h"
#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_gradient-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

std::int64_t backward_floats(const AttentionGradArgs& args, const BackwardExtent& extent) {
  return BackwardSpace(args, extent).total();
}

// Rows of `to` become `from`·factor, or have it added.
void store_rows(DType dtype, const HeadRows& to, const RowSpan& span, std::int64_t head, std::int64_t dim,
                const float* from, std::int64_t width, float factor, bool add = false) {
  for (std::int64_t r = 0; r < span.count; ++r)
    store_row(dtype, to, span.first + r * span.step, head, dim, from + r * width, factor, add);
}

// What one unit works on, or one of its classes.
struct BackwardUnit {
  const AttentionGradArgs& args;
  SequenceDesc sequence;
  std::int64_t kv, begin, end;  // head, keys
  float* partial;               // PartialQueries of this range of keys, or null: args.dq itself
  const BackwardUnit* next;     // what this thread is likely to take on afterwards, or null
  // True where whole tiles have stored their part of dQ, dK and dV.
  bool adds() const { return sequence.step > 1 && has_whole_tiles(args.forward); }
};

void add_queries(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h, std::int64_t first,
                 Ahead& ahead, const Share& share = {0, 1}) {
  const AttentionArgs& a = args.forward;
  const RowSpan rows = share.of(queries_of(s, first, std::min(kQueries, s.query_count - first)));
  ahead.add(a.dtype, a.q, rows, h, a.dim);
  ahead.add(a.dtype, a.o, rows, h, a.value_dim);
  ahead.add(a.dtype, args.d_o, rows, h, a.value_dim);
  ahead.add(a.dtype, args.dq, rows, h, a.dim);
}

void add_biases(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h, std::int64_t first,
                const KeyRange& keys, bool own_bias, Ahead& ahead) {
  const std::int64_t count = std::min(kQueries, s.query_count - first);
  add_bias_rows(args.forward.bias, args.forward.bias_strides, s, h, first, count, keys, ahead);
  if (own_bias) add_bias_rows(args.dbias, args.dbias_strides, s, h, first, count, keys, ahead);
}

// With their rows of dK and dV where those are stored tile by tile.
void add_keys(const BackwardUnit& unit, const KeyRange& keys, bool stores, Ahead& ahead) {
  const AttentionArgs& a = unit.args.forward;
  const RowSpan rows = keys_of(unit.sequence, keys.begin, std::min(kKeys, keys.end - keys.begin));
  ahead.add(a.dtype, a.k, rows, unit.kv, a.dim);
  ahead.add(a.dtype, a.v, rows, unit.kv, a.value_dim);
  if (!stores) return;
  ahead.add(a.dtype, unit.args.dk, rows, unit.kv, a.dim);
  ahead.add(a.dtype, unit.args.dv, rows, unit.kv, a.value_dim);
}

// What the unit after this one begins with.
void add_next(const BackwardUnit& unit, bool stores, Ahead& ahead) {
  if (!unit.next) return;
  const AttentionArgs& a = unit.args.forward;
  add_keys(*unit.next, {unit.next->begin, unit.next->end}, stores, ahead);
  add_queries(unit.args, unit.next->sequence, unit.next->kv * (a.heads / a.kv_heads), 0, ahead);
}

// What follows a block of queries and its tile where tiles are walked by keys: the next block, where it is
// still to be made ready; after the last block the next tile; after the last tile the next unit.
Ahead ahead_by_keys(const BackwardUnit& unit, std::int64_t h, const QueryBlock& block, const KeyRange& keys,
                    const BackwardSpace& sizes, const BackwardBuffers& p, bool own_bias) {
  const SequenceDesc& s = unit.sequence;
  const bool stores = !sizes.all_keys;
  Ahead ahead(fetches(s, block, keys, 4));
  const std::int64_t next = block.begin + kQueries;
  if (next < s.query_count) {
    add_biases(unit.args, s, h, next, keys, own_bias, ahead);
    if (p.ready[next / kQueries] == 0.f) {
      add_queries(unit.args, s, h, next, ahead);
    } else {
      p.add_prepared(sizes, next, ahead);
    }
  } else if (keys.end < unit.end) {
    add_keys(unit, {keys.end, unit.end}, stores, ahead);
  } else {
    add_next(unit, stores, ahead);
  }
  return ahead;
}

// Where they are walked by queries: the next tile, and by and by the next block; after the last one the next
// unit.
Ahead ahead_by_queries(const BackwardUnit& unit, std::int64_t h, const QueryBlock& block,
                       std::span<const TilePlan::Tile> tiles, std::size_t t, bool own_bias) {
  const SequenceDesc& s = unit.sequence;
  Ahead ahead(fetches(s, block, {tiles[t].begin, tiles[t].end}, 4));
  const Share share{static_cast<std::int64_t>(t), static_cast<std::int64_t>(tiles.size())};
  const std::int64_t next = block.begin + kQueries;
  if (t + 1 < tiles.size()) {
    const KeyRange keys{tiles[t + 1].begin, tiles[t + 1].end};
    add_biases(unit.args, s, h, block.begin, keys, own_bias, ahead);
    add_keys(unit, keys, false, ahead);
  } else if (next >= s.query_count) {
    add_next(unit, false, ahead);
  }
  if (next < s.query_count) add_queries(unit.args, s, h, next, ahead, share);
  return ahead;
}

// dK and dV of these keys.
void store_keys(const BackwardUnit& unit, const BackwardSpace& sizes, const BackwardBuffers& p,
                const KeyRange& keys) {
  const AttentionGradArgs& args = unit.args;
  const AttentionArgs& a = args.forward;
  const RowSpan span = keys_of(unit.sequence, keys.begin, keys.end - keys.begin);
  if (args.dk.data)
    store_rows(a.dtype, args.dk, span, unit.kv, a.dim, p.key_sums, sizes.dim, static_cast<float>(a.scale),
               unit.adds());
  if (args.dv.data)
    store_rows(a.dtype, args.dv, span, unit.kv, a.value_dim, p.value_sums, sizes.value_dim, 1.f, unit.adds());
}

// dQ of the unit's queries from their blocks.
void store_queries(const BackwardUnit& unit, std::int64_t h, const BackwardSpace& sizes,
                   const BackwardBuffers& p, float* d_query, const HeadRows& to, float* partial) {
  const AttentionArgs& a = unit.args.forward;
  const SequenceDesc& s = unit.sequence;
  const auto scale = static_cast<float>(a.scale);
  for (std::int64_t first = 0; first < s.query_count; first += kQueries) {
    const QueryBlock block(first, s.query_count);
    float* from = d_query + first * sizes.dim;
    if (p.ready[first / kQueries] == 0.f) {  // nothing seen: dQ of 0, or nothing to add
      if (partial || unit.adds()) continue;
      std::fill(from, from + block.count * sizes.dim, 0.f);
    }
    if (partial) {
      const RowSpan own{h * s.query_count + first, block.count};
      store_rows(DType::float32, {partial, a.dim, 0}, own, 0, a.dim, from, sizes.dim, scale);
    } else {
      store_rows(a.dtype, to, queries_of(s, first, block.count), h, a.dim, from, sizes.dim, scale,
                 unit.adds());
    }
  }
}

// Head h of a unit.
void backward_head(const BackwardUnit& unit, std::int64_t h, const BackwardSpace& sizes,
                   const BackwardBuffers& p, const HeadSums& sums) {
  AttentionGradArgs args = unit.args;
  const AttentionArgs& a = args.forward;
  const SequenceDesc& s = unit.sequence;
  const KeyRange all{unit.begin, unit.end};
  if (packs_rows(a) && all.begin < all.end)
    args.forward.relative_keys = packed_rows(a.relative_keys, s, h, {0, s.query_count}, all, p.packed);
  std::fill(p.ready, p.ready + (s.query_count + kQueries - 1) / kQueries, 0.f);
  const auto visit = [&](const QueryBlock& block, const Tile& tile, const KeyRows& rows, std::int64_t begin,
                         Ahead&& ahead) {
    // Under a sparse mask a range of keys meets few of the queries.
    float& ready = p.ready[block.begin / kQueries];
    if (ready == 0.f) prepare(args, s, h, block, sizes, p, block.begin);
    ready = 1.f;
    backward_tile(args, s, h, block, tile, rows, sizes, p, sums, begin, ahead);
    ahead.finish();
  };
  // Without a plan by keys, which are then loaded once; a plan lists its tiles by queries.
  for (std::int64_t j0 = unit.begin; !a.plan && j0 < unit.end; j0 += kKeys) {
    const KeyRange keys{j0, std::min(j0 + kKeys, unit.end)};
    const KeyRows rows = load_keys(a, s, unit.kv, keys, sizes, p);
    const std::int64_t count = keys.end - keys.begin;
    if (!sizes.all_keys) {
      std::fill(p.key_sums, p.key_sums + count * sizes.dim, 0.f);
      std::fill(p.value_sums, p.value_sums + count * sizes.value_dim, 0.f);
    }
    for (std::int64_t first = 0; first < s.query_count; first += kQueries) {
      const QueryBlock block(first, s.query_count);
      const KeyRange seen = visible_keys(s, block);
      if (seen.end <= keys.begin || seen.begin >= keys.end) continue;
      visit(block, bounded_tile(s, block, keys.begin, keys.end), rows, sizes.all_keys ? unit.begin : j0,
            ahead_by_keys(unit, h, block, keys, sizes, p, sums.own_bias));
    }
    if (!sizes.all_keys) store_keys(unit, sizes, p, keys);
  }
  for (std::int64_t first = 0; a.plan && first < s.query_count; first += kQueries) {
    const QueryBlock block(first, s.query_count);
    const KeyRange range{unit.begin, unit.end};
    const auto tiles = tiles_within(planned_tiles(a, s, h, block), range);
    for (std::size_t t = 0; t < tiles.size(); ++t) {
      visit_planned(a, block, tiles[t], range, [&](const Tile& tile) HWY_ATTR {
        visit(block, tile, load_keys(a, s, unit.kv, {tile.begin, tile.end}, sizes, p), unit.begin,
              ahead_by_queries(unit, h, block, tiles, t, sums.own_bias));
      });
    }
  }
  const PartialQueries parts(a, s);
  if (unit.partial) std::copy(p.ready, p.ready + parts.blocks, unit.partial + parts.met() + h * parts.blocks);
  if (args.dq.data) store_queries(unit, h, sizes, p, p.d_query, args.dq, unit.partial);
  if (a.relative_keys.data) {
    float* partial = unit.partial ? unit.partial + parts.rows : nullptr;
    store_queries(unit, h, sizes, p, p.d_relative, args.d_relative_query, partial);
  }
}

// Where the tiles of head h add what belongs to neither queries nor keys: in the [H][HeadLayout] of a unit of
// sequence s.
HeadSums sums_of_head(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h, bool own_bias,
                      float* sums_of_heads) {
  const HeadLayout layout(args, s);
  HeadSums sums{.own_bias = own_bias};
  if (layout.total() == 0) return sums;
  float* own = sums_of_heads + h * layout.total();
  if (layout.distances > 0) sums.distances = own;
  if (layout.keys > 0) sums.keys = own + layout.distances;
  if (layout.values > 0) sums.values = own + layout.distances + layout.keys;
  if (layout.parameters > 0) sums.parameters = own + layout.distances + layout.keys + layout.values;
  sums.least = DistanceSpan(s).least;
  sums.first_key_row = layout.first_key_row;
  sums.first_value_row = layout.first_value_row;
  return sums;
}

// A range of keys of one key/value head, or some classes; `next` follows. `sums`: [H][HeadLayout] of the
// unit.
void backward_unit(const AttentionGradArgs& args, const KeyUnit& part, std::int64_t kv, const KeyUnit* next,
                   std::int64_t next_kv, bool own_bias, const BackwardExtent& extent, float* partial,
                   float* sums_of_heads, float* space) {
  const AttentionArgs& a = args.forward;
  const SequenceDesc& s = a.sequences[part.sequence];
  const BackwardSpace sizes(args, extent);
  const BackwardBuffers p(a, sizes, space);
  const std::int64_t group = a.heads / a.kv_heads, floats = HeadLayout(args, s).total();
  std::fill(sums_of_heads + kv * group * floats, sums_of_heads + (kv + 1) * group * floats, 0.f);
  const auto nth = [&](const KeyUnit& of, std::int64_t head, std::int64_t n) {
    const SequenceDesc& whole = a.sequences[of.sequence];
    if (!of.classes) return BackwardUnit{args, whole, head, of.begin, of.end, partial, nullptr};
    const SequenceDesc one = residue_class(a, whole, of.begin + n);
    return BackwardUnit{args, one, head, 0, one.key_count, nullptr, nullptr};
  };
  const std::int64_t count = part.classes ? part.end - part.begin : 1;
  for (std::int64_t n = 0; n < count; ++n) {
    BackwardUnit unit = nth(part, kv, n);
    const bool last = n + 1 == count;
    const BackwardUnit then = last ? nth(next ? *next : part, next_kv, 0) : nth(part, kv, n + 1);
    if (!last || next) unit.next = &then;
    if (sizes.all_keys) {
      std::fill(p.key_sums, p.key_sums + (unit.end - unit.begin) * sizes.dim, 0.f);
      std::fill(p.value_sums, p.value_sums + (unit.end - unit.begin) * sizes.value_dim, 0.f);
    }
    for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h)
      backward_head(unit, h, sizes, p, sums_of_head(args, s, h, own_bias, sums_of_heads));
    if (sizes.all_keys) store_keys(unit, sizes, p, {unit.begin, unit.end});
  }
}

// dbias where no unit of keys owns its elements: everything that adds to rows [first, last) of one slice, in
// order, from tiles computed once more.
void bias_unit(const AttentionGradArgs& args, std::int64_t slice_batch, std::int64_t slice_head,
               std::int64_t first, std::int64_t last, const BackwardExtent& extent, float* space) {
  const AttentionArgs& a = args.forward;
  const BackwardSpace sizes(args, extent);
  const BackwardBuffers p(a, sizes, space);
  const auto add = [&](const SequenceDesc& s, std::int64_t h) {
    for (std::int64_t i = first; i < std::min(last, s.query_count); i += kQueries) {
      const QueryBlock block(i, s.query_count);
      prepare(args, s, h, block, sizes, p, 0);
      const std::int64_t kv = h * a.kv_heads / a.heads;
      for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
        const KeyRows keys = load_keys(a, s, kv, {tile.begin, tile.end}, sizes, p);
        Ahead nothing(0);
        differentiate(a, s, h, block, tile, keys, sizes, p, 0, nothing);
        add_bias_gradient(args, s, h, block, tile, p.tiles.d_scores);
      });
    }
  };
  for (const SequenceDesc& s : a.sequences) {
    if (args.bias_batches > 1 && s.index != slice_batch) continue;
    for (std::int64_t h = 0; h < a.heads; ++h) {
      if (args.bias_heads > 1 && h != slice_head) continue;
      for_classes(a, s, [&](const SequenceDesc& part) { add(part, h); });
    }
  }
}

std::int64_t backward_block() { return kQueries; }

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(backward_floats);
HWY_EXPORT(backward_unit);
HWY_EXPORT(backward_block);
HWY_EXPORT(bias_unit);

void add_shared_bias(const AttentionGradArgs& args, const BackwardExtent& extent, float* spaces,
                     std::int64_t floats) {
  // Rows of a class lie all over a slice: one unit does all of it then.
  const std::int64_t longest = extent.queries;
  const bool cut = args.bias_queries > 1 && !has_classes(args.forward);
  const std::int64_t rows = cut ? HWY_DYNAMIC_DISPATCH(backward_block)() : std::max<std::int64_t>(longest, 1);
  const std::int64_t blocks = (longest + rows - 1) / rows;
  core::parallel_for(args.bias_batches * args.bias_heads * blocks, [&](std::int64_t unit) {
    const std::int64_t first = unit % blocks * rows;
    HWY_DYNAMIC_DISPATCH(bias_unit)
    (args, unit / blocks / args.bias_heads, unit / blocks % args.bias_heads, first, first + rows, extent,
     spaces + core::thread_index() * floats);
  });
}
}  // namespace

std::size_t attention_backward_workspace(const AttentionGradArgs& args, int threads) {
  const Plan ranges = plan_ranges(args), classes = plan_classes(args);
  const std::int64_t floats =
      HWY_DYNAMIC_DISPATCH(backward_floats)(args, BackwardExtent(args.forward)) * threads +
      ranges.partial_floats + std::max(ranges.sums_floats, classes.sums_floats);
  return static_cast<std::size_t>(floats) * sizeof(float);
}

void attention_backward(const AttentionGradArgs& args, void* workspace) {
  const AttentionArgs& a = args.forward;
  const Plan ranges = plan_ranges(args), classes = plan_classes(args);
  const BackwardExtent extent(a);
  const bool shared_bias = bias_is_shared(args, ranges);
  auto* partials = static_cast<float*>(workspace);
  float* sums = partials + ranges.partial_floats;
  float* spaces = sums + std::max(ranges.sums_floats, classes.sums_floats);
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(backward_floats)(args, extent);
  const auto run = [&](const Plan& plan) {
    for (const Wave& wave : plan.waves) {
      const std::int64_t units = static_cast<std::int64_t>(wave.end - wave.begin) * a.kv_heads;
      const auto unit_of = [&](std::int64_t unit) {
        return &plan.units[wave.begin + static_cast<std::size_t>(unit / a.kv_heads)];
      };
      core::parallel_for(units, [&](std::int64_t unit) {
        const KeyUnit& part = *unit_of(unit);
        const std::int64_t next = unit + threads();
        HWY_DYNAMIC_DISPATCH(backward_unit)
        (args, part, unit % a.kv_heads, next < units ? unit_of(next) : nullptr, next % a.kv_heads,
         args.dbias && !shared_bias, extent, part.partial >= 0 ? partials + part.partial : nullptr,
         sums + part.sums, spaces + core::thread_index() * floats);
      });
      add_sums(args, plan, wave, sums);
    }
  };
  run(ranges);
  add_partials(args, ranges, partials);
  run(classes);
  if (shared_bias) add_shared_bias(args, extent, spaces, floats);
}
}  // namespace headway::inline v1::kernels
#endif
