// What happens to a tile of scores between its product and its softmax, and to the weights after it: cap,
// biases, hiding, dropout.
#if defined(HEADWAY_KERNELS_CPU_ATTENTION_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_ATTENTION_SCORES_INL_H_
#undef HEADWAY_KERNELS_CPU_ATTENTION_SCORES_INL_H_
#else
#define HEADWAY_KERNELS_CPU_ATTENTION_SCORES_INL_H_
#endif

#include "kernels/cpu/attention_tile-inl.h"
#include "kernels/cpu/tanh-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// True when the mask hides some pair of the tile.
inline bool is_partial(const SequenceDesc& s, const QueryBlock& block, const Tile& tile) {
  const bool inside =
      block.begin + block.count - 1 + s.low <= tile.begin && tile.end - 1 <= block.begin + s.high;
  return !inside || tile.bits;
}

// Calls body(pointer to a vector of scores, key, vector) for all that the tile's softmax will read.
template <class Body>
HWY_INLINE void for_scores(const QueryBlock& block, const Tile& tile, float* scores, const Body& body) {
  for (int v = 0; v < block.vectors; ++v) {
    const KeyRange seen = tile.vector_keys(v);
    for (std::int64_t j = seen.begin; j < seen.end; ++j)
      body(scores + (j - tile.begin) * kQueries + v * kLanes, j, v);
  }
}

constexpr std::int64_t kBiasKeys = 16;  // of a strip that is transposed at a time: 4 KiB

// A bias of -inf is a mask: what it meets may be NaN.
inline float biased(float score, float bias) {
  return bias == -kInfinity ? -kInfinity : score + kLog2e * bias;
}

// The part of a bias [query][key] from key `begin` on, transposed: `out` [keys][kQueries], for the queries
// that exist.
inline void bias_strip(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                       std::int64_t begin, std::int64_t keys, float* out) {
  const float* bias = static_cast<const float*>(a.bias) +
                      a.bias_strides.at(s.index, h, s.query_at(block.begin), s.key_at(begin));
  const std::int64_t query = a.bias_strides.query * s.step, key = a.bias_strides.key * s.step;
  if (key == 1 && query != 0) return transpose(bias, query, block.count, keys, 1.f, out, kQueries);
  for (std::int64_t j = 0; j < keys; ++j) {
    for (std::int64_t i = 0; i < block.count; ++i) out[j * kQueries + i] = bias[i * query + j * key];
  }
}

// Where a bias, or its gradient, has a row for each query, those of `queries` of them and some keys are what
// comes next.
inline void add_bias_rows(const void* bias, const PairStrides& strides, const SequenceDesc& s, std::int64_t h,
                          std::int64_t first, std::int64_t queries, const KeyRange& keys, Ahead& ahead) {
  if (!bias || strides.key * s.step != 1 || strides.query == 0 || keys.begin >= keys.end) return;
  const float* from =
      static_cast<const float*>(bias) + strides.at(s.index, h, s.query_at(first), s.key_at(keys.begin));
  ahead.add(DType::float32, {from, strides.query, 0}, {0, queries}, 0, keys.end - keys.begin);
}

// add_bias() where the tile is whole strips: they are transposed in registers. Few biases hide a pair, so
// elements of -inf are looked for first, and put where they belong afterwards.
inline bool add_bias_strips(const float* bias, std::int64_t query, std::int64_t keys, float* scores) {
  const StripTag f;
  const auto unit = hn::Set(f, kLog2e), hidden = hn::Set(f, -kInfinity);
  auto least = hn::Zero(f);
  const auto for_strips = [&](const auto& body) HWY_ATTR {
    for (std::int64_t i = 0; i < kQueries; i += kStripRows) {
      for (std::int64_t j = 0; j < keys; j += 4) {
        transpose_rows<kStripRows>(bias + i * query + j, query, Unscaled(),
                                   [&](std::int64_t c, auto x)
                                       HWY_ATTR { body(scores + (j + c) * kQueries + i, x); });
      }
    }
  };
  for_strips([&](float* at, auto x) HWY_ATTR {
    least = hn::Min(x, least);  // x86's min gives its second operand where one is NaN
    hn::StoreU(hn::MulAdd(unit, x, hn::LoadU(f, at)), f, at);
  });
  if (hn::AllFalse(f, hn::Eq(least, hidden))) return false;
  for_strips([&](float* at, auto x) HWY_ATTR {
    hn::StoreU(hn::IfThenElse(hn::Eq(x, hidden), hidden, hn::LoadU(f, at)), f, at);
  });
  return true;
}

// True where an element of -inf has hidden a pair.
inline bool add_bias(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                     const Tile& tile, float* scores) {
  const FloatTag f;
  const Floats unit = hn::Set(f, kLog2e), hidden = hn::Set(f, -kInfinity);
  Floats hides = hn::Zero(f);
  const auto add = [&](float* at, Floats bias) HWY_ATTR {
    const Floats sum = hn::MulAdd(unit, bias, hn::LoadU(f, at));
    const auto away = hn::Eq(bias, hidden);
    hides = hn::Or(hides, hn::VecFromMask(f, away));
    hn::StoreU(hn::IfThenElse(away, hidden, sum), f, at);
  };
  if (a.bias_strides.query == 0) {  // a number for each key
    const float* row = static_cast<const float*>(a.bias) + a.bias_strides.at(s.index, h, 0, 0);
    for_scores(block, tile, scores, [&](float* at, std::int64_t j, int) HWY_ATTR {
      add(at, hn::Set(f, row[s.key_at(j) * a.bias_strides.key]));
    });
  } else {
    const PairStrides& strides = a.bias_strides;
    if (strides.key * s.step == 1 && block.count == kQueries && tile.keys() % 4 == 0) {
      const float* first = static_cast<const float*>(a.bias) +
                           strides.at(s.index, h, s.query_at(block.begin), s.key_at(tile.begin));
      return add_bias_strips(first, strides.query * s.step, tile.keys(), scores);
    }
    HWY_ALIGN float part[kBiasKeys * kQueries] = {};  // lanes without a query stay 0
    for (std::int64_t j = tile.begin; j < tile.end; j += kBiasKeys) {
      const std::int64_t keys = std::min(kBiasKeys, tile.end - j);
      bias_strip(a, s, h, block, j, keys, part);
      for (std::int64_t k = 0; k < keys; ++k) {
        for (int v = 0; v < block.vectors; ++v) {
          const std::int64_t at = k * kQueries + v * kLanes;
          add(scores + (j - tile.begin) * kQueries + at, hn::LoadU(f, part + at));
        }
      }
    }
  }
  return !hn::AllFalse(f, hn::MaskFromVec(hides));
}

// -inf where a plan's bits hide a pair.
inline void hide_pairs(const QueryBlock& block, const Tile& tile, float* scores) {
  const FloatTag f;
  for (std::int64_t j = 0; j < tile.keys(); ++j) {
    for (int v = 0; v < block.vectors; ++v) {
      const std::uint64_t word = tile.bits[j] >> (v * kLanes);
      std::uint8_t bytes[8];
      std::memcpy(bytes, &word, sizeof(word));
      float* at = scores + j * kQueries + v * kLanes;
      hn::StoreU(hn::IfThenElse(hn::LoadMaskBits(f, bytes), hn::LoadU(f, at), hn::Set(f, -kInfinity)), f, at);
    }
  }
}

// Of scores in units of log 2: cap·tanh(x / cap) = cap - 2·cap / (e^(2x / cap) + 1), whose error is below
// 2e-7 of the cap. Of scores far below the cap that would be much: Gemma 2's cap is 50.
struct Softcap {
  Floats cap, twice, rate, inverse;
  explicit Softcap(double softcap)
      : cap(hn::Set(FloatTag(), static_cast<float>(softcap) * kLog2e)),
        twice(hn::Add(cap, cap)),
        rate(hn::Set(FloatTag(), 2.f / static_cast<float>(softcap))),
        inverse(hn::Set(FloatTag(), 1.f / (static_cast<float>(softcap) * kLog2e))) {}
  HWY_INLINE Floats of(Floats x) const {
    const FloatTag f;
    // x86's min gives its second operand where one is NaN.
    const Floats power = exp2(hn::Min(hn::Set(f, 64.f), hn::Mul(x, rate)));
    const Floats far = hn::Sub(cap, hn::Div(twice, hn::Add(power, hn::Set(f, 1.f))));
    const Floats u = hn::Mul(x, inverse);
    const Floats near = hn::MulAdd(x, small_tanh_excess(hn::Mul(u, u)), x);
    return hn::IfThenElse(hn::Lt(hn::Abs(u), hn::Set(f, kSmallForTanh)), near, far);
  }
};

// `slopes`, where wanted, are the derivative.
inline void cap_scores(const AttentionArgs& a, const QueryBlock& block, const Tile& tile, float* scores,
                       float* slopes) {
  const FloatTag f;
  const Softcap softcap(a.softcap);
  for_scores(block, tile, scores, [&](float* at, std::int64_t, int) HWY_ATTR {
    const Floats y = softcap.of(hn::LoadU(f, at));
    hn::StoreU(y, f, at);
    if (!slopes) return;
    const Floats tanh = hn::Mul(y, softcap.inverse);
    hn::StoreU(hn::NegMulAdd(tanh, tanh, hn::Set(f, 1.f)), f, slopes + (at - scores));
  });
}

// Adds the bias of each pair's distance: along queries it rises by one (a class's by the step), so it is a
// vector of the table.
inline void add_distances(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                          const QueryBlock& block, const Tile& tile, float* scores) {
  const FloatTag f;
  const IntTag n;
  const Floats unit = hn::Set(f, kLog2e);
  const float* table = static_cast<const float*>(a.distances.data) + h * a.distances.head - a.distances.least;
  const auto every = hn::Mul(hn::Iota(n, 0), hn::Set(n, static_cast<std::int32_t>(s.step)));
  for_scores(block, tile, scores, [&](float* at, std::int64_t j, int v) HWY_ATTR {
    const float* from = table + s.distance(block.begin + v * kLanes, j);
    // Lanes without a query read the last element there is.
    const auto most = hn::Set(n, static_cast<std::int32_t>((block.count - 1 - v * kLanes) * s.step));
    const Floats bias = s.step == 1 ? hn::LoadU(f, from) : hn::GatherIndex(f, from, hn::Min(every, most));
    hn::StoreU(hn::MulAdd(unit, bias, hn::LoadU(f, at)), f, at);
  });
}

// A run of a tile, as a modifier sees it: in natural units.
inline ScoreTile<float> modifier_tile(const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                                      const Tile& tile, const Run& run, float* scores) {
  const std::int64_t lane = run.first * kLanes;
  return {.scores = scores + (run.begin - tile.begin) * kQueries + lane,
          .stride = kQueries,
          .queries = std::min(run.last * kLanes, block.count) - lane,
          .keys = run.keys(),
          .sequence = s.index,
          .head = h,
          .first_query = s.query_at(block.begin + lane),
          .first_key = s.key_at(run.begin),
          .step = s.step,
          .offset = s.position};
}

inline void scale_scores(const QueryBlock& block, const Tile& tile, float factor, float* scores) {
  const FloatTag f;
  for_scores(block, tile, scores, [&](float* at, std::int64_t, int) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::Set(f, factor), hn::LoadU(f, at)), f, at);
  });
}

// `before`, where wanted, gets the scores that the modifier found.
inline void modify_scores(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                          const QueryBlock& block, const Tile& tile, float* scores, float* before) {
  scale_scores(block, tile, kLn2, scores);
  if (before) std::copy(scores, scores + tile.keys() * kQueries, before);
  for_runs(tile,
           [&](const Run& run) { a.modifier->apply<float>(modifier_tile(s, h, block, tile, run, scores)); });
  scale_scores(block, tile, kLog2e, scores);
}

// What the backward pass needs of how scores came about: the slope of the cap, the scores before a modifier.
struct ScoreHistory {
  float *slopes = nullptr, *before = nullptr;
};

// -inf where the bounds hide a pair: along their diagonals, of what the runs have computed.
inline void hide_bounds(const SequenceDesc& s, const QueryBlock& block, const Tile& tile, float* scores) {
  const FloatTag f;
  const IntTag n;
  const Floats hidden = hn::Set(f, -kInfinity);
  for (int v = 0; v < block.vectors; ++v) {
    const std::int64_t first = block.begin + v * kLanes, last = first + kLanes - 1;
    const KeyRange seen = tile.vector_keys(v);
    const auto at = [&](std::int64_t j) { return scores + (j - tile.begin) * kQueries + v * kLanes; };
    // Lane i sees key j when j >= first + i + low: lanes up to j - first - low.
    for (std::int64_t j = seen.begin; j < std::min(seen.end, last + s.low); ++j) {
      const auto lanes = hn::Set(n, static_cast<std::int32_t>(std::max<std::int64_t>(j - first - s.low, -1)));
      const auto far = hn::RebindMask(f, hn::Gt(hn::Iota(n, 0), lanes));
      hn::StoreU(hn::IfThenElse(far, hidden, hn::LoadU(f, at(j))), f, at(j));
    }
    // … and j <= first + i + high: lanes from j - first - high on.
    for (std::int64_t j = std::max(seen.begin, first + s.high + 1); j < seen.end; ++j) {
      const auto lanes = hn::Set(n, static_cast<std::int32_t>(std::min(j - first - s.high, kLanes)));
      const auto far = hn::RebindMask(f, hn::Lt(hn::Iota(n, 0), lanes));
      hn::StoreU(hn::IfThenElse(far, hidden, hn::LoadU(f, at(j))), f, at(j));
    }
  }
}

// Scores [keys][kQueries], in units of log 2, are capped, modified, get their biases, and -inf where hidden.
// True where some pair is.
inline bool finish_scores(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h,
                          const QueryBlock& block, const Tile& tile, float* scores,
                          const ScoreHistory& history = {}) {
  if (a.softcap > 0) cap_scores(a, block, tile, scores, history.slopes);
  if (a.modifier) modify_scores(a, s, h, block, tile, scores, history.before);
  if (a.distances.data) add_distances(a, s, h, block, tile, scores);
  const bool hides = a.bias && add_bias(a, s, h, block, tile, scores);
  if (!is_partial(s, block, tile)) return hides;
  if (tile.bits) hide_pairs(block, tile, scores);
  hide_bounds(s, block, tile, scores);
  return true;
}

// dS goes to a dense bias's gradient, by rows of queries again.
inline void add_bias_gradient(const AttentionGradArgs& args, const SequenceDesc& s, std::int64_t h,
                              const QueryBlock& block, const Tile& tile, const float* d_scores) {
  const StripTag f;
  const PairStrides& strides = args.dbias_strides;
  float* out = static_cast<float*>(args.dbias) + strides.at(s.index, h, s.query_at(block.begin), s.key_at(0));
  const std::int64_t query_step = strides.query * s.step, key_step = strides.key * s.step;
  for_runs(tile, [&](const Run& run) HWY_ATTR {
    const std::int64_t first = run.first * kLanes, last = std::min(run.last * kLanes, block.count);
    const auto column = [&](std::int64_t j) { return d_scores + (j - tile.begin) * kQueries; };
    std::int64_t end = run.begin, whole = first;  // of what goes in strips
    if (key_step == 1 && query_step != 0) {
      end += run.keys() / kStripRows * kStripRows;
      whole += (last - first) / 4 * 4;
    }
    for (std::int64_t i = first; i < whole; i += 4) {
      for (std::int64_t j = run.begin; j < end; j += kStripRows) {
        transpose_rows<kStripRows>(column(j) + i, kQueries, Unscaled(), [&](std::int64_t c, auto x) HWY_ATTR {
          float* at = out + (i + c) * query_step + j;
          hn::StoreU(hn::Add(hn::LoadU(f, at), x), f, at);
        });
      }
    }
    for (std::int64_t j = run.begin; j < run.end; ++j) {
      for (std::int64_t i = j < end ? whole : first; i < last; ++i)
        out[i * query_step + j * key_step] += column(j)[i];
    }
  });
}

// `sums` is element 0 of the unit's own: distance d of the sequence stands at d - least.
inline void add_distance_gradient(const SequenceDesc& s, const QueryBlock& block, const Tile& tile,
                                  float* d_scores, std::int64_t least, float* sums) {
  const FloatTag f;
  for_scores(block, tile, d_scores, [&](float* at, std::int64_t j, int v) HWY_ATTR {
    float* to = sums + s.distance(block.begin + v * kLanes, j) - least;
    if (s.step == 1) return hn::StoreU(hn::Add(hn::LoadU(f, to), hn::LoadU(f, at)), f, to);
    const std::int64_t lanes = std::min(kLanes, block.count - v * kLanes);
    for (std::int64_t i = 0; i < lanes; ++i) to[i * s.step] += at[i];
  });
}

// Multiplies a tile by the dropout's 0 or 1/(1 - p), drawn again from its coordinates. `values` may equal
// `out`. Eight keys share one draw: tiles begin at multiples of 8. Keys of a class, which lie apart, have one
// each.
inline void drop(const AttentionArgs& a, const SequenceDesc& s, std::int64_t h, const QueryBlock& block,
                 const Tile& tile, const float* values, float* out) {
  const FloatTag f;
  const WordTag w;
  const IntTag n;
  const Floats kept = hn::Set(f, static_cast<float>(a.dropout.keep_scale()));
  const auto threshold = hn::Set(n, static_cast<std::int32_t>(a.dropout.threshold));
  const std::uint64_t key = a.dropout.call.seed ^ (a.dropout.call.call >> 32);
  const Words every = hn::Mul(hn::Iota(w, 0), hn::Set(w, static_cast<std::uint32_t>(s.step)));
  for (int v = 0; v < block.vectors; ++v) {
    const KeyRange seen = tile.vector_keys(v);
    const auto query = static_cast<std::uint32_t>(s.query_at(block.begin + v * kLanes));
    const auto draw = [&](std::int64_t number, Words* word) HWY_ATTR {
      word[0] = hn::Add(every, hn::Set(w, query));
      word[1] = hn::Set(w, static_cast<std::uint32_t>(number / 8));
      word[2] = hn::Set(w, static_cast<std::uint32_t>(s.index * a.heads + h));
      word[3] = hn::Set(w, static_cast<std::uint32_t>(a.dropout.call.call));
      philox(word[0], word[1], word[2], word[3], key);
    };
    const auto apply = [&](std::int64_t j, std::int64_t number, const Words* word) HWY_ATTR {
      const Words& pair = word[number % 8 / 2];
      const Words half = number % 2 ? hn::ShiftRight<16>(pair) : hn::And(pair, hn::Set(w, 0xffffu));
      const std::int64_t at = (j - tile.begin) * kQueries + v * kLanes;
      const auto dropped = hn::RebindMask(f, hn::Lt(hn::BitCast(n, half), threshold));
      hn::StoreU(hn::IfThenZeroElse(dropped, hn::Mul(hn::LoadU(f, values + at), kept)), f, out + at);
    };
    Words word[4];
    if (s.step > 1) {
      for (std::int64_t j = seen.begin; j < seen.end; ++j) {
        draw(s.key_at(j), word);
        apply(j, s.key_at(j), word);
      }
      continue;
    }
    for (std::int64_t j = std::max(tile.begin, seen.begin / 8 * 8); j < seen.end; j += 8) {
      draw(j, word);
      for (std::int64_t l = j; l < std::min(j + 8, tile.end); ++l) apply(l, l, word);
    }
  }
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
