// O = softmax(Q·Kᵀ)·V, tile by tile with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al.
// 2022).
#include <headway/kernels/attention.h>

#include <headway/core/parallel.h>

#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/attention_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_forward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention_pairs-inl.h"
#include "kernels/cpu/attention_relative-inl.h"
#include "kernels/cpu/attention_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Blocks of queries that meet a tile one after another: K and V come from beyond the L2 cache once for all. Q
// and O of eight are 256 KiB at D = 64, half of a small L2 cache; four were 5 % slower at T = 4096, sixteen
// no faster.
constexpr int kBlocks = 8;

// float32 workspace of one thread.
struct ForwardSpace {
  std::int64_t dim, value_dim;  // rounded up to vectors
  bool pairs;
  RelativeSpace relative;
  explicit ForwardSpace(const AttentionArgs& a)
      : dim(round_up(a.dim)), value_dim(round_up(a.value_dim)), pairs(in_pairs(a)), relative(a) {}
  std::int64_t query() const { return dim * kQueries; }
  std::int64_t relative_query() const { return relative.width > 0 ? query() : 0; }
  std::int64_t block() const { return query() + relative_query() + (value_dim + 2) * kQueries; }
  // Scores, `rescale`, and of pairs: their weights, and a scale for each key.
  std::int64_t tile() const { return (kKeys + 1) * kQueries + (pairs ? joined() + kKeys : 0); }
  static constexpr std::int64_t joined() { return (kKeys / 2 + 1) * kQueries; }
  std::int64_t rows() const { return kQueries * dim + kKeys * (dim + value_dim); }
  std::int64_t total() const { return kBlocks * block() + tile() + rows() + relative.total(); }
};

std::int64_t forward_floats(const AttentionArgs& a) {
  std::int64_t keys = 0;
  for (const SequenceDesc& s : a.sequences) keys = std::max(keys, s.key_count);
  return ForwardSpace(a).total() + packed_floats(a, kBlocks * kQueries, keys);
}
std::int64_t forward_block() { return kQueries; }

// Blocks of queries of one head: what a pass takes on, and what this thread is likely to take on after it.
struct Work {
  const SequenceDesc* sequence = nullptr;  // null: nothing
  std::int64_t head = 0, first = 0;        // query
  int blocks = 0;
  RowSpan queries() const {
    return queries_of(*sequence, first, std::min(blocks * kQueries, sequence->query_count - first));
  }
  QueryBlock block(int n) const { return {first + n * kQueries, sequence->query_count}; }
  // Keys that at least one of them may see.
  KeyRange seen() const {
    return {visible_keys(*sequence, block(0)).begin, visible_keys(*sequence, block(blocks - 1)).end};
  }
};

// The tiles of keys that they meet, in order. Of blocks that see the same tiles of a plan, the first one's;
// see share_tiles().
class TileList {
 public:
  TileList(const AttentionArgs& a, const Work& w)
      : planned_(a.plan ? planned_tiles(a, *w.sequence, w.head, w.block(0)) : Planned()),
        seen_(a.plan ? KeyRange{0, 0} : w.seen()),
        count_(a.plan ? static_cast<std::int64_t>(planned_.size())
                      : (seen_.end - tile_begin(seen_.begin) + kKeys - 1) / kKeys) {}
  std::int64_t count() const { return count_; }
  KeyRange operator[](std::int64_t t) const {
    if (!planned_.empty()) return {planned_[t].begin, planned_[t].end};
    const std::int64_t begin = tile_begin(seen_.begin) + t * kKeys;
    return {begin, std::min(begin + kKeys, seen_.end)};
  }

 private:
  using Planned = std::span<const TilePlan::Tile>;
  Planned planned_;
  KeyRange seen_;
  std::int64_t count_;
};

// Up to kBlocks blocks of queries of one head, over all their keys.
class ForwardPass {
 public:
  ForwardPass(const AttentionArgs& args, const Work& w, float* space)
      : a(args),
        work(w),
        s(*w.sequence),
        h(w.head),
        kv(h * args.kv_heads / args.heads),
        sizes(args),
        blocks(space),
        scores(blocks + kBlocks * sizes.block()),
        rescale(scores + kKeys * kQueries),
        joined(rescale + kQueries),
        pair_scale(sizes.pairs ? joined + ForwardSpace::joined() : nullptr),
        row_buffer(scores + sizes.tile()),
        key_buffer(row_buffer + kQueries * sizes.dim),
        value_buffer(key_buffer + kKeys * sizes.dim),
        relative(sizes.relative, value_buffer + kKeys * sizes.value_dim) {
    const KeyRange seen = work.seen();
    const KeyRange queries{work.first, std::min(work.first + work.blocks * kQueries, s.query_count)};
    if (packs_rows(a) && seen.begin < seen.end)
      a.relative_keys = packed_rows(a.relative_keys, s, h, queries, seen, space + sizes.total());
    if (pair_scale) std::fill(pair_scale, pair_scale + kKeys, static_cast<float>(a.scale) * kLog2e);
  }

  // `next` comes after it.
  void run(bool resumes, const Work& next) {
    const int count = work.blocks;
    const TileList tiles(a, work);
    const bool alone = writes_at_once(tiles, resumes);
    for (int n = 0; n < count; ++n) begin_block(work.block(n), n, resumes, alone);
    if (count == 1) {
      std::int64_t t = 0;
      for_tiles(a, s, h, work.block(0), {0, s.key_count}, [&](const Tile& tile) HWY_ATTR {
        Ahead ahead = ahead_of(tiles, t++, next);
        const KeyRange keys{tile.begin, tile.end};
        attend(work.block(0), 0, tile, key_rows(keys, Place::anywhere), value_rows(keys), alone, ahead);
        ahead.finish();
      });
    } else {
      for (std::int64_t t = 0; t < tiles.count(); ++t) {
        const KeyRange range = tiles[t];
        Ahead ahead = ahead_of(tiles, t, next);
        const Rows k = key_rows(range, Place::adjacent);
        const Values v = value_rows(range);
        for (int n = 0; n < count; ++n) {
          const auto visit = [&](const Tile& tile) HWY_ATTR {
            attend(work.block(n), n, tile, {k.data + (tile.begin - range.begin) * k.row, k.row}, v, false,
                   ahead);
          };
          if (a.plan) {
            visit_planned(a, work.block(n), planned_tiles(a, s, h, work.block(n))[t], range, visit);
          } else {
            for_tiles(a, s, h, work.block(n), range, visit);
          }
        }
        ahead.finish();
      }
    }
    for (int n = 0; n < count; ++n) {
      if (!alone) store_output(a, s, h, work.block(n), sizes.value_dim, sums_of(n));
      finish_rows(a, s, h, work.block(n), sums_of(n));
    }
  }

 private:
  float* query_of(int n) const { return blocks + n * sizes.block(); }  // [D][kQueries], times scale·log2(e)
  float* relative_query_of(int n) const { return query_of(n) + sizes.query(); }  // the same of Q'
  Sums sums_of(int n) const {
    float* output = relative_query_of(n) + sizes.relative_query();
    float* largest = output + sizes.value_dim * kQueries;
    return {output, largest, largest + kQueries};
  }

  Rows key_rows(const KeyRange& keys, Place place) const {
    const RowSpan span = keys_of(s, keys.begin, keys.end - keys.begin);
    return sizes.pairs ? word_rows(a.k, span, kv, a.dim, key_buffer, place)
                       : float_rows(a.dtype, a.k, span, kv, a.dim, key_buffer, a.dim, place);
  }

  // Rows from key `begin` on; of pairs, two keys in each.
  struct Values {
    Rows rows;
    std::int64_t begin;
  };
  Values value_rows(const KeyRange& keys) const {
    const std::int64_t begin = sizes.pairs ? pair_begin(keys.begin) : keys.begin;
    const RowSpan span = keys_of(s, begin, keys.end - begin);
    if (sizes.pairs) return {joined_rows(a.v, span, kv, a.value_dim, value_buffer, sizes.value_dim), begin};
    return {float_rows(a.dtype, a.v, span, kv, a.value_dim, value_buffer, sizes.value_dim, Place::adjacent),
            begin};
  }

  // The rows of the tile after number t; and by and by, over the last tiles, those that `next` begins with.
  Ahead ahead_of(const TileList& tiles, std::int64_t t, const Work& next) const {
    constexpr std::int64_t kLast = 4;
    std::int64_t times = 0;
    for (int n = 0; n < work.blocks; ++n) times += fetches(s, work.block(n), tiles[t]);
    Ahead ahead(times);
    const auto add_keys = [&](const Work& of, const KeyRange& keys, const Share& share) {
      const RowSpan rows = share.of(keys_of(*of.sequence, keys.begin, keys.end - keys.begin));
      ahead.add(a.dtype, a.k, rows, of.head * a.kv_heads / a.heads, a.dim);
      ahead.add(a.dtype, a.v, rows, of.head * a.kv_heads / a.heads, a.value_dim);
    };
    if (t + 1 < tiles.count()) add_keys(work, tiles[t + 1], {0, 1});
    const std::int64_t last = std::min(kLast, tiles.count());
    const Share share{t + last - tiles.count(), last};
    if (!next.sequence || share.number < 0) return ahead;
    const TileList after(a, next);
    if (after.count() > 0) add_keys(next, after[0], share);
    ahead.add(a.dtype, a.q, share.of(next.queries()), next.head, a.dim);
    ahead.add(a.dtype, a.o, share.of(next.queries()), next.head, a.value_dim);
    return ahead;
  }

  // True when one tile is all that its queries see, and its product can go to O as it is.
  bool writes_at_once(const TileList& tiles, bool resumes) const {
    return work.blocks == 1 && !resumes && !a.plan && !a.relative_values.data && a.dtype == DType::float32 &&
           a.value_dim == sizes.value_dim && tiles.count() <= 1;
  }

  void begin_block(const QueryBlock& block, int n, bool resumes, bool alone) {
    if (sizes.pairs) {
      const Rows q = word_rows(a.q, queries_of(s, block.begin, block.count), h, a.dim, row_buffer);
      transpose_block(q, block, a.dim / 2, Unscaled(), query_of(n));
    } else {
      load_query(a, s, h, block, a.q, row_buffer, query_of(n));
    }
    if (a.relative_keys.data) load_query(a, s, h, block, a.relative_query, row_buffer, relative_query_of(n));
    const Sums sums = sums_of(n);
    std::fill(sums.largest, sums.largest + kQueries, -kInfinity);
    std::fill(sums.total, sums.total + kQueries, 0.f);
    if (resumes) {
      resume(a, s, h, block, sizes.value_dim, sums);
    } else if (!alone) {
      std::fill(sums.output, sums.output + block.count * sizes.value_dim, 0.f);
    }
  }

  // The bias of the next block, or of the first block and the next tile.
  void add_bias_after(int n, const Tile& tile, Ahead& ahead) const {
    const bool last = n + 1 == work.blocks;
    const QueryBlock next = work.block(last ? 0 : n + 1);
    const KeyRange keys =
        last ? KeyRange{tile.end, std::min(tile.end + kKeys, s.key_count)} : KeyRange{tile.begin, tile.end};
    add_bias_rows(a.bias, a.bias_strides, s, h, next.begin, next.count, keys, ahead);
  }

  // k are the tile's rows, v has them.
  void attend(const QueryBlock& block, int n, const Tile& tile, const Rows& k, const Values& v, bool alone,
              Ahead& ahead) {
    const Sums sums = sums_of(n);
    const std::int64_t j0 = tile.begin;
    const bool partial = score_tile(
        a, s, h, block, tile, {k, query_of(n), relative_query_of(n), pair_scale, &ahead}, relative, scores);
    Ahead bias(block.vectors + kQueries / kRowsAtOnce);
    add_bias_after(n, tile, bias);
    Ahead& then = a.bias ? bias : ahead;
    for (int c = 0; c < block.vectors; ++c) {
      ahead.fetch();
      bias.fetch();
      const KeyRange seen = tile.vector_keys(c);
      exponentiate(scores + (seen.begin - j0) * kQueries + c * kLanes, seen.end - seen.begin,
                   sums.largest + c * kLanes, sums.total + c * kLanes, rescale + c * kLanes);
    }
    if (a.dropout.threshold) drop(a, s, h, block, tile, scores, scores);
    if (sizes.pairs) return add_pairs(block, tile, v, partial, sums, then);
    const Rows values{v.rows.data + (j0 - v.begin) * v.rows.row, v.rows.row};
    const bool skip_zeros = partial && !all_finite(values.data, tile.keys(), values.row, a.value_dim);
    if (alone) {
      const FloatTag f;
      for (int c = 0; c < block.vectors; ++c)
        hn::StoreU(hn::Div(hn::Set(f, 1.f), hn::LoadU(f, sums.total + c * kLanes)), f, rescale + c * kLanes);
      auto* out = static_cast<float*>(const_cast<void*>(a.o.at(a.dtype, s.query_row(block.begin), h)));
      return for_columns(block, tile, [&](const Run& run) HWY_ATTR {
        query_product<Start::scale>(values, sizes.value_dim, scores, block, run, j0, rescale, out,
                                    a.o.row * s.step, skip_zeros, false, &then);
      });
    }
    for_columns(block, tile, [&](const Run& run) HWY_ATTR {
      query_product<Start::rescale>(values, sizes.value_dim, scores, block, run, j0, rescale, sums.output,
                                    sizes.value_dim, skip_zeros, false, &then);
    });
    if (!a.relative_values.data) return;
    const RelativeTile r = relative_tile(a.relative_values, s, h, block, tile, relative.rows);
    sum_by_distance(r, block, tile, relative, scores);
    add_relative_product(r, block, tile, sizes.value_dim, relative, partial, sums.output);
  }

  void add_pairs(const QueryBlock& block, const Tile& tile, const Values& v, bool partial, const Sums& sums,
                 Ahead& ahead) {
    join_keys(block, tile, scores, v.begin, joined);
    const bool skip_zeros =
        (partial || shares_pairs(tile)) &&
        !all_finite(v.rows.data, (tile.end - v.begin + 1) / 2, v.rows.row, a.value_dim, true);
    for_columns(block, tile, [&](const Run& run) HWY_ATTR {
      query_product<Start::rescale>(v.rows, sizes.value_dim, joined, block, run, v.begin, rescale,
                                    sums.output, sizes.value_dim, skip_zeros, true, &ahead);
    });
  }

  AttentionArgs a;
  Work work;
  const SequenceDesc& s;
  std::int64_t h, kv;
  ForwardSpace sizes;
  float *blocks, *scores, *rescale;  // kBlocks times query, Q', sums; [kKeys][kQueries]; [kQueries]
  float *joined, *pair_scale;        // of pairs: weights, two keys in a row; [kKeys], or null
  float *row_buffer, *key_buffer, *value_buffer;
  RelativeBuffers relative;
};

// True when the blocks meet the same tiles of keys: then how many of them go together changes no bits.
bool share_tiles(const AttentionArgs& a, const Work& work) {
  if (!a.plan) return true;
  const auto tiles = [&](int n) { return planned_tiles(a, *work.sequence, work.head, work.block(n)); };
  const auto same = [](const TilePlan::Tile& x, const TilePlan::Tile& y) {
    return x.begin == y.begin && x.end == y.end;
  };
  const auto first = tiles(0);
  for (int n = 1; n < work.blocks; ++n) {
    const auto other = tiles(n);
    if (!std::equal(first.begin(), first.end(), other.begin(), other.end(), same)) return false;
  }
  return true;
}

// Up to `blocks` blocks of the unit's queries, for its heads one after another; `next` is the unit after it.
void forward_unit(const AttentionArgs& a, const HeadsUnit& unit, const HeadsUnit* next, int blocks,
                  bool resumes, float* space) {
  const auto work_of = [&](const HeadsUnit& of, std::int64_t head) {
    const auto rest = static_cast<int>((of.sequence.query_count - of.first + kQueries - 1) / kQueries);
    return Work{&of.sequence, head, of.first, std::min(blocks, rest)};
  };
  for (std::int64_t h = unit.head_begin; h < unit.head_end; ++h) {
    const Work work = work_of(unit, h);
    Work after;
    if (h + 1 < unit.head_end) {
      after = work_of(unit, h + 1);
    } else if (next) {
      after = work_of(*next, next->head_begin);
    }
    const int together = share_tiles(a, work) ? work.blocks : 1;
    const auto part = [&](int n) { return Work{work.sequence, h, work.first + n * kQueries, together}; };
    for (int n = 0; n < work.blocks; n += together) {
      const bool last = n + together == work.blocks;
      ForwardPass(a, part(n), space).run(resumes, last ? after : part(n + together));
    }
  }
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

// As many as leave each thread eight units: at the end one waits for an eighth of its time at most.
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
  const auto run = [&](const std::vector<QueryUnit>& parts, int blocks, bool resumes) {
    const std::vector<HeadsUnit> units = with_heads(args, parts, block);
    core::parallel_for(static_cast<std::int64_t>(units.size()), [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i), after = at + static_cast<std::size_t>(threads());
      HWY_DYNAMIC_DISPATCH(forward_unit)
      (args, units[at], after < units.size() ? &units[after] : nullptr, blocks, resumes,
       spaces + core::thread_index() * floats);
    });
  };
  const bool whole = has_whole_tiles(args);
  forward_rows(args, spaces);
  if (whole) {
    const int blocks = blocks_together(args, block, HWY_DYNAMIC_DISPATCH(most_blocks)());
    run(forward_blocks(args, block * blocks), blocks, false);
  }
  run(class_blocks(args, block), 1, whole);
}
}  // namespace headway::inline v1::kernels
#endif
