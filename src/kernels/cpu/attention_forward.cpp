// O = softmax(Q·Kᵀ)·V, tile by tile with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al.
// 2022).
#include <headway/kernels/attention.h>

#include <cmath>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_forward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_relative-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Blocks of queries that meet a tile one after another: K and V come from beyond the L2 cache once for all.
constexpr int kBlocks = 4;

// float32 workspace of one thread.
struct ForwardSpace {
  std::int64_t dim, value_dim;  // rounded up to vectors
  RelativeSpace relative;
  explicit ForwardSpace(const AttentionArgs& a)
      : dim(round_up(a.dim)), value_dim(round_up(a.value_dim)), relative(a) {}
  std::int64_t query() const { return dim * kQueries; }
  std::int64_t relative_query() const { return relative.width > 0 ? query() : 0; }
  std::int64_t block() const { return query() + relative_query() + (value_dim + 2) * kQueries; }
  std::int64_t tile() const { return (kKeys + 1) * kQueries; }
  std::int64_t rows() const { return kQueries * std::max(dim, value_dim) + kKeys * (dim + value_dim); }
  std::int64_t total() const { return kBlocks * block() + tile() + rows() + relative.total(); }
};

std::int64_t forward_floats(const AttentionArgs& a) { return ForwardSpace(a).total(); }
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
  const Floats factor = rescale_factor(before, base);
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

// What follows the tile at hand: keys of head `head`, and, where that is the next head, its first queries.
// Rows are fetched share by share, while exponentials are computed, which want no memory.
struct Ahead {
  KeyRange keys{0, 0};
  std::int64_t head = -1;  // -1: nothing follows
  RowSpan queries{0, 0};
  std::int64_t part = 0, parts = 1;

  void fetch(const AttentionArgs& a, const SequenceDesc& s) {
    if (head < 0 || part >= parts) return;
    const auto share = [&](std::int64_t count, std::int64_t at) { return count * at / parts; };
    const std::int64_t from = share(keys.end - keys.begin, part), to = share(keys.end - keys.begin, part + 1);
    const std::int64_t kv = head * a.kv_heads / a.heads;
    prefetch_rows(a.dtype, a.k, keys_of(s, keys.begin + from, to - from), kv, a.dim);
    prefetch_rows(a.dtype, a.v, keys_of(s, keys.begin + from, to - from), kv, a.value_dim);
    const std::int64_t first = share(queries.count, part), last = share(queries.count, part + 1);
    const RowSpan rows{queries.first + first * queries.step, last - first, queries.step};
    prefetch_rows(a.dtype, a.q, rows, head, a.dim);
    prefetch_rows(a.dtype, a.o, rows, head, a.value_dim);
    ++part;
  }
};

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

// Up to kBlocks blocks of queries of one head, over all their keys.
class ForwardPass {
 public:
  ForwardPass(const AttentionArgs& args, const SequenceDesc& sequence, std::int64_t head, float* space)
      : a(args),
        s(sequence),
        h(head),
        kv(head * args.kv_heads / args.heads),
        sizes(args),
        blocks(space),
        scores(blocks + kBlocks * sizes.block()),
        rescale(scores + kKeys * kQueries),
        row_buffer(rescale + kQueries),
        key_buffer(row_buffer + kQueries * std::max(sizes.dim, sizes.value_dim)),
        value_buffer(key_buffer + kKeys * sizes.dim),
        relative(sizes.relative, value_buffer + kKeys * sizes.value_dim) {}

  // Queries from `first` on, `count` blocks of them. Afterwards come those of next_head (-1: none do).
  void run(std::int64_t first, int count, bool resumes, std::int64_t next_head) {
    for (int n = 0; n < count; ++n) begin_block(QueryBlock(first + n * kQueries, s.query_count), n, resumes);
    const auto block = [&](int n) { return QueryBlock(first + n * kQueries, s.query_count); };
    const KeyRange seen{visible_keys(s, block(0)).begin, visible_keys(s, block(count - 1)).end};
    const RowSpan queries = queries_of(s, first, std::min(kQueries, s.query_count - first));
    const auto ahead_of = [&](std::int64_t tile_end) {
      Ahead ahead;
      ahead.parts = count * block(0).vectors;
      ahead.head = tile_end < seen.end ? h : next_head;
      const std::int64_t from = tile_end < seen.end ? tile_end : seen.begin;
      ahead.keys = {from, std::max(from, std::min(from + kKeys, seen.end))};
      if (tile_end >= seen.end) ahead.queries = queries;
      return ahead;
    };
    if (count == 1) {
      for_tiles(a, s, h, block(0), {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
        Ahead ahead = ahead_of(tile.end);
        const RowSpan keys = keys_of(s, tile.begin, tile.keys());
        const Rows k = float_rows(a.dtype, a.k, keys, kv, a.dim, key_buffer, a.dim);
        const Rows v =
            float_rows(a.dtype, a.v, keys, kv, a.value_dim, value_buffer, a.value_dim, Place::adjacent);
        attend(block(0), 0, tile, k, v, ahead);
      });
    } else {
      for (std::int64_t j0 = tile_begin(seen.begin); j0 < seen.end; j0 += kKeys) {
        const KeyRange range{j0, std::min(j0 + kKeys, seen.end)};
        Ahead ahead = ahead_of(range.end);
        const RowSpan keys = keys_of(s, j0, range.end - j0);
        const Rows k = float_rows(a.dtype, a.k, keys, kv, a.dim, key_buffer, a.dim, Place::adjacent);
        const Rows v =
            float_rows(a.dtype, a.v, keys, kv, a.value_dim, value_buffer, a.value_dim, Place::adjacent);
        for (int n = 0; n < count; ++n) {
          for_tiles(a, s, h, block(n), range, [&](const Tile& tile) HWY_ATTR {
            const auto from = [&](const Rows& x) { return Rows{x.data + (tile.begin - j0) * x.row, x.row}; };
            attend(block(n), n, tile, from(k), from(v), ahead);
          });
        }
      }
    }
    for (int n = 0; n < count; ++n) finish_block(a, s, h, block(n), row_buffer, sums_of(n));
  }

 private:
  float* query_of(int n) const { return blocks + n * sizes.block(); }  // [D][kQueries], times scale·log2(e)
  float* relative_query_of(int n) const { return query_of(n) + sizes.query(); }  // the same of Q'
  Sums sums_of(int n) const {
    float* output = relative_query_of(n) + sizes.relative_query();
    float* largest = output + sizes.value_dim * kQueries;
    return {output, largest, largest + kQueries};
  }

  void begin_block(const QueryBlock& block, int n, bool resumes) {
    load_query(a, s, h, block, a.q, row_buffer, query_of(n));
    if (a.relative_keys.data) load_query(a, s, h, block, a.relative_query, row_buffer, relative_query_of(n));
    const Sums sums = sums_of(n);
    std::fill(sums.largest, sums.largest + kQueries, -kInfinity);
    std::fill(sums.total, sums.total + kQueries, 0.f);
    if (resumes) {
      resume(a, s, h, block, row_buffer, sums);
    } else {
      clear_block(sums.output, a.value_dim, block);
    }
  }

  // k and v are the tile's rows.
  void attend(const QueryBlock& block, int n, const Tile& tile, const Rows& k, const Rows& v, Ahead& ahead) {
    const Sums sums = sums_of(n);
    const std::int64_t j0 = tile.begin;
    score_tile(a, s, h, block, tile, k, query_of(n), relative_query_of(n), relative, scores);
    for (int c = 0; c < block.vectors; ++c) {
      ahead.fetch(a, s);
      const KeyRange seen = tile.vector_keys(c);
      exponentiate(scores + (seen.begin - j0) * kQueries + c * kLanes, seen.end - seen.begin,
                   sums.largest + c * kLanes, sums.total + c * kLanes, rescale + c * kLanes);
    }
    if (a.dropout.threshold) drop(a, s, h, block, tile, scores, scores);
    const bool partial = is_partial(a, s, block, tile);
    const bool skip_zeros = partial && !all_finite(v.data, tile.keys(), v.row, a.value_dim);
    for_columns(block, tile, [&](const Run& run) HWY_ATTR {
      query_product<Start::rescale>(v, a.value_dim, scores, run, j0, rescale, sums.output, skip_zeros);
    });
    if (!a.relative_values.data) return;
    const RelativeTile r = relative_tile(a.relative_values, s, h, block, tile, relative.rows);
    sum_by_distance(r, block, tile, relative, scores);
    add_relative_product(r, block, tile, a.value_dim, relative, partial, sums.output);
  }

  const AttentionArgs& a;
  const SequenceDesc& s;
  std::int64_t h, kv;
  ForwardSpace sizes;
  float *blocks, *scores, *rescale;  // kBlocks times query, Q', sums; [kKeys][kQueries]; [kQueries]
  float *row_buffer, *key_buffer, *value_buffer;
  RelativeBuffers relative;
};

// Blocks of queries, from `first` on, of the heads [begin, end).
void forward_unit(const AttentionArgs& a, const SequenceDesc& s, std::int64_t begin, std::int64_t end,
                  std::int64_t first, int blocks, bool resumes, float* space) {
  const auto rest = static_cast<int>((s.query_count - first + kQueries - 1) / kQueries);
  for (std::int64_t h = begin; h < end; ++h)
    ForwardPass(a, s, h, space).run(first, std::min(blocks, rest), resumes, h + 1 < end ? h + 1 : -1);
}
int most_blocks() { return kBlocks; }

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
HWY_EXPORT(forward_floats);
HWY_EXPORT(forward_block);
HWY_EXPORT(forward_unit);
HWY_EXPORT(most_blocks);

// As many as leave each thread some units to take.
int blocks_together(const AttentionArgs& args, std::int64_t block, int most) {
  constexpr std::int64_t kUnitsEach = 8;
  std::int64_t blocks = 0;
  for (const SequenceDesc& s : args.sequences)
    blocks += is_row(args, s) ? 0 : (s.query_count + block - 1) / block;
  return static_cast<int>(std::clamp<std::int64_t>(blocks * args.heads / (kUnitsEach * threads()), 1, most));
}
}  // namespace

std::size_t attention_forward_workspace(const AttentionArgs& args, int threads) {
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(forward_floats)(args) * threads;
  return static_cast<std::size_t>(std::max(floats, rows_workspace(args, threads))) * sizeof(float);
}

void attention_forward(const AttentionArgs& args, void* workspace) {
  const std::int64_t block = HWY_DYNAMIC_DISPATCH(forward_block)();
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(forward_floats)(args);
  auto* spaces = static_cast<float*>(workspace);
  struct Unit {
    QueryUnit part;
    std::int64_t head_begin, head_end;
  };
  const auto run = [&](const std::vector<QueryUnit>& parts, int blocks, bool resumes) {
    std::vector<Unit> units;
    for (const QueryUnit& part : parts) {
      const std::int64_t together = heads_together(args, part.sequence, block);
      for (std::int64_t h = 0; h < args.heads; h += together)
        units.push_back({part, h, std::min(h + together, args.heads)});
    }
    core::parallel_for(static_cast<std::int64_t>(units.size()), [&](std::int64_t i) {
      const Unit& unit = units[static_cast<std::size_t>(i)];
      HWY_DYNAMIC_DISPATCH(forward_unit)
      (args, unit.part.sequence, unit.head_begin, unit.head_end, unit.part.first, blocks, resumes,
       spaces + core::thread_index() * floats);
    });
  };
  const bool whole = has_whole_tiles(args);
  forward_rows(args, spaces);
  if (whole) {
    // A plan lists the tiles of each block by itself. How many blocks go together changes no bits.
    const int blocks = args.plan ? 1 : blocks_together(args, block, HWY_DYNAMIC_DISPATCH(most_blocks)());
    run(forward_blocks(args, block * blocks), blocks, false);
  }
  run(class_blocks(args, block), 1, whole);
}
}  // namespace headway::inline v1::kernels
#endif
