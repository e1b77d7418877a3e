// O = softmax(Q·Kᵀ)·V, tile by tile with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al.
// 2022).
#include <headway/kernels/attention.h>

#include <cmath>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_forward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_relative-inl.h"
#include "kernels/cpu/attention_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// float32 workspace of one thread.
struct ForwardSpace {
  std::int64_t dim, value_dim;  // rounded up to vectors
  RelativeSpace relative;
  std::int64_t relative_query() const { return relative.width > 0 ? query() : 0; }
  explicit ForwardSpace(const AttentionArgs& a)
      : dim(round_up(a.dim)), value_dim(round_up(a.value_dim)), relative(a) {}
  std::int64_t query() const { return dim * kQueries; }
  std::int64_t output() const { return value_dim * kQueries; }
  std::int64_t tile() const { return kKeys * kQueries; }
  std::int64_t rows() const { return kQueries * std::max(dim, value_dim) + kKeys * (dim + value_dim); }
  std::int64_t total() const {
    return query() + output() + tile() + 3 * kQueries + rows() + relative_query() + relative.total();
  }
};

std::int64_t forward_floats(const AttentionArgs& a) {
  return std::max(ForwardSpace(a).total(), RowSpace(a).total());
}
std::int64_t forward_block() { return kQueries; }

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
  const Floats factor = exp2(hn::Sub(before, base));
  Floats sum0 = hn::Zero(f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (j = 0; j + 4 <= keys; j += 4) {
    sum0 = hn::Add(sum0, power(j));
    sum1 = hn::Add(sum1, power(j + 1));
    sum2 = hn::Add(sum2, power(j + 2));
    sum3 = hn::Add(sum3, power(j + 3));
  }
  for (; j < keys; ++j) sum0 = hn::Add(sum0, power(j));
  hn::StoreU(top, f, largest);
  const Floats sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  hn::StoreU(hn::MulAdd(hn::LoadU(f, total), factor, sum), f, total);
  hn::StoreU(factor, f, rescale);
}

// Fetches the share `part` of `parts` of what comes next: the following tile's keys and values, or, after the
// last tile, the rows of the next head (-1: there is none).
void prefetch_next(const AttentionArgs& a, const SequenceDesc& s, const QueryBlock& block, const Tile& tile,
                   std::int64_t h, std::int64_t next_head, std::int64_t part, std::int64_t parts) {
  const auto keys = [&](std::int64_t begin, std::int64_t end, std::int64_t head) {
    const std::int64_t kv = head * a.kv_heads / a.heads;
    const std::int64_t count = std::max<std::int64_t>(std::min(end, s.key_count) - begin, 0);
    const std::int64_t from = count * part / parts, to = count * (part + 1) / parts;
    prefetch_rows(a.dtype, a.k, keys_of(s, begin + from, to - from), kv, a.dim);
    prefetch_rows(a.dtype, a.v, keys_of(s, begin + from, to - from), kv, a.value_dim);
  };
  const KeyRange seen = visible_keys(s, block);
  if (tile.end < seen.end) return keys(tile.end, std::min(tile.end + kKeys, seen.end), h);
  if (next_head < 0) return;
  keys(seen.begin, std::min(seen.begin + kKeys, seen.end), next_head);
  const std::int64_t from = block.count * part / parts, to = block.count * (part + 1) / parts;
  prefetch_rows(a.dtype, a.q, queries_of(s, block.begin + from, to - from), next_head, a.dim);
  prefetch_rows(a.dtype, a.o, queries_of(s, block.begin + from, to - from), next_head, a.value_dim);
}

// What a block has summed up so far, by vectors of queries.
struct Sums {
  float *output, *largest, *total;  // [Dv][kQueries], [kQueries], [kQueries]
};

// Takes up where other keys have left off: O and the log-sum-exp are a maximum, a sum of 1 and an output.
void resume(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
            float* row_buffer, const Sums& sums) {
  const Rows o = float_rows(a.dtype, a.o, queries_of(s, block.begin, block.count), h, a.value_dim, row_buffer,
                            a.value_dim);
  transpose_block(o, block, a.value_dim, 1.f, sums.output);
  const auto* lse = static_cast<const float*>(a.lse) + h * a.lse_rows;
  for (std::int64_t i = 0; i < block.count; ++i) {
    const float before = lse[s.query_row(block.begin + i)];
    sums.largest[i] = before * kLog2e;
    sums.total[i] = before == -kInfinity ? 0.f : 1.f;
  }
}

// O = output / total, and the log-sum-exp.
void finish_block(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                  float* row_buffer, const Sums& sums) {
  const FloatTag f;
  for (int c = 0; c < block.vectors; ++c) {
    const Floats sum = hn::LoadU(f, sums.total + c * kLanes);
    const auto seen = hn::Not(hn::Eq(sum, hn::Zero(f)));  // true for NaN, too
    const Floats inverse = hn::IfThenElseZero(seen, hn::Div(hn::Set(f, 1.f), sum));
    for (std::int64_t d = 0; d < a.value_dim; ++d) {
      float* at = sums.output + d * kQueries + c * kLanes;
      // A query that sees nothing gives 0 even where a dropped -inf met a NaN.
      hn::StoreU(hn::IfThenElseZero(seen, hn::Mul(hn::LoadU(f, at), inverse)), f, at);
    }
  }
  auto* lse = static_cast<float*>(a.lse) + h * a.lse_rows;
  for (std::int64_t i = 0; i < block.count; ++i) {
    lse[s.query_row(block.begin + i)] =
        sums.total[i] == 0.f ? -kInfinity : sums.largest[i] * kLn2 + std::log(sums.total[i]);
  }
  const auto row = [&](std::int64_t i) {
    return const_cast<void*>(a.o.at(a.dtype, s.query_row(block.begin + i), h));
  };
  if (a.dtype == DType::float32)
    return transpose(sums.output, kQueries, a.value_dim, block.count, 1.f, static_cast<float*>(row(0)),
                     a.o.row * s.step);
  transpose(sums.output, kQueries, a.value_dim, block.count, 1.f, row_buffer, a.value_dim);
  for (std::int64_t i = 0; i < block.count; ++i)
    from_floats(row_buffer + i * a.value_dim, a.value_dim, static_cast<bfloat16*>(row(i)));
}

void forward_head(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, std::int64_t next_head,
                  std::int64_t first, bool resumes, float* space) {
  const QueryBlock block(first, s.query_count);
  const std::int64_t kv = h * a.kv_heads / a.heads;
  const ForwardSpace sizes(a);
  float* query = space;                                     // [D][kQueries], times scale·log2(e)
  float* relative_query = query + sizes.query();            // the same of Q'
  float* output = relative_query + sizes.relative_query();  // [Dv][kQueries]
  float* scores = output + sizes.output();                  // [kKeys][kQueries]
  float* largest = scores + sizes.tile();                   // [kQueries]
  float* total = largest + kQueries;                        // [kQueries]
  float* rescale = total + kQueries;                        // [kQueries]
  float* row_buffer = rescale + kQueries;
  float* key_buffer = row_buffer + kQueries * std::max(sizes.dim, sizes.value_dim);
  float* value_buffer = key_buffer + kKeys * sizes.dim;
  const RelativeBuffers buffers(sizes.relative, value_buffer + kKeys * sizes.value_dim);
  const Sums sums{output, largest, total};

  const auto load_query = [&](const HeadRows& from, float* to) {
    const Rows rows =
        float_rows(a.dtype, from, queries_of(s, first, block.count), h, a.dim, row_buffer, a.dim);
    transpose_block(rows, block, a.dim, static_cast<float>(a.scale) * kLog2e, to);
  };
  load_query(a.q, query);
  if (a.relative_keys.data) load_query(a.relative_query, relative_query);
  std::fill(largest, largest + kQueries, -kInfinity);
  std::fill(total, total + kQueries, 0.f);
  if (resumes) {
    resume(a, s, h, block, row_buffer, sums);
  } else {
    clear_block(output, a.value_dim, block);
  }

  for_tiles(a, s, h, block, {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
    const std::int64_t j0 = tile.begin;
    const RowSpan keys = keys_of(s, j0, tile.keys());
    const Rows k = float_rows(a.dtype, a.k, keys, kv, a.dim, key_buffer, a.dim);
    const Rows v =
        float_rows(a.dtype, a.v, keys, kv, a.value_dim, value_buffer, a.value_dim, Place::adjacent);
    score_tile(a, s, h, block, tile, k, query, relative_query, buffers, scores);
    for (int c = 0; c < block.vectors; ++c) {
      // While the exponentials, which want no memory, are computed.
      prefetch_next(a, s, block, tile, h, next_head, c, block.vectors);
      const KeyRange seen = tile.vector_keys(c);
      exponentiate(scores + (seen.begin - j0) * kQueries + c * kLanes, seen.end - seen.begin,
                   largest + c * kLanes, total + c * kLanes, rescale + c * kLanes);
    }
    if (a.dropout.threshold) drop(a, s, h, block, tile, scores, scores);
    const bool partial = is_partial(a, s, block, tile);
    const bool skip_zeros = partial && !all_finite(v.data, tile.keys(), v.row, a.value_dim);
    for_columns(block, tile, [&](const Run& run) HWY_ATTR {
      query_product<Start::rescale>(v, a.value_dim, scores, run, j0, rescale, output, skip_zeros);
    });
    if (a.relative_values.data) {
      const RelativeTile r = relative_tile(a.relative_values, s, h, block, tile, buffers.rows);
      sum_by_distance(r, block, tile, buffers, scores);
      add_relative_product(r, block, tile, a.value_dim, buffers, partial, output);
    }
  });
  finish_block(a, s, h, block, row_buffer, sums);
}

// One block of queries of the heads [begin, end).
void forward_unit(const AttentionArgs& a, const SequenceDesc& s, std::int64_t begin, std::int64_t end,
                  std::int64_t first, bool resumes, float* space) {
  for (std::int64_t h = begin; h < end; ++h)
    forward_head(a, s, h, h + 1 < end ? h + 1 : -1, first, resumes, space);
}

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
HWY_EXPORT(forward_floats);
HWY_EXPORT(forward_block);
HWY_EXPORT(forward_unit);
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

std::int64_t range_floats(const AttentionArgs& args) {
  const auto ranges = ranges_of_rows(args);
  return ranges.empty() ? 0 : ranges.back().results + args.heads * RowRange::width(args);
}

void forward_rows(const AttentionArgs& args, float* results, float* spaces, std::int64_t floats) {
  const std::vector<RowRange> ranges = ranges_of_rows(args);
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
}  // namespace

std::size_t attention_forward_workspace(const AttentionArgs& args, int threads) {
  return static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(forward_floats)(args) * threads + range_floats(args)) *
         sizeof(float);
}

void attention_forward(const AttentionArgs& args, void* workspace) {
  const std::int64_t block = HWY_DYNAMIC_DISPATCH(forward_block)();
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(forward_floats)(args);
  auto* results = static_cast<float*>(workspace);
  float* spaces = results + range_floats(args);
  struct Unit {
    QueryUnit part;
    std::int64_t head_begin, head_end;
  };
  const auto run = [&](const std::vector<QueryUnit>& parts, bool resumes) {
    std::vector<Unit> units;
    for (const QueryUnit& part : parts) {
      const std::int64_t together = heads_together(args, part.sequence, block);
      for (std::int64_t h = 0; h < args.heads; h += together)
        units.push_back({part, h, std::min(h + together, args.heads)});
    }
    core::parallel_for(static_cast<std::int64_t>(units.size()), [&](std::int64_t i) {
      const Unit& unit = units[static_cast<std::size_t>(i)];
      HWY_DYNAMIC_DISPATCH(forward_unit)
      (args, unit.part.sequence, unit.head_begin, unit.head_end, unit.part.first, resumes,
       spaces + core::thread_index() * floats);
    });
  };
  const bool whole = !args.plan || args.plan->has_whole_tiles();
  forward_rows(args, results, spaces, floats);
  if (whole) run(forward_blocks(args, block), false);
  run(class_blocks(args, block), whole);
}
}  // namespace headway::inline v1::kernels
#endif
