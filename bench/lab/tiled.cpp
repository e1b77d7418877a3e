// Versions in tiles of keys with a running maximum: scores are held [key][query], vectors along queries.
#include <algorithm>
#include <cmath>
#include <vector>

#include <hwy/highway.h>

#include "lab/versions.h"

namespace headway::bench::lab {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::ScalableTag<std::int32_t>;
using Floats = hn::Vec<FloatTag>;
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(FloatTag()));
constexpr std::int64_t kKeys = 96;
constexpr int kRows = 6, kVectors = 2;
constexpr std::int64_t kColumns = kVectors * kLanes;

// What a version does.
struct Traits {
  std::int64_t queries = kColumns;  // of a block
  int blocks = 1;                   // that share a tile of keys
  bool copies = false;              // keys and values go to adjacent rows first
  bool by_rows = false;             // O is summed as rows of queries, not as [d][query]
  bool at_once = false;             // exponentials in the score product, by the maximum of the tiles before
};

HWY_INLINE Floats exp2(Floats x) {
  const FloatTag f;
  const Floats clamped = hn::Max(hn::Set(f, -127.f), x);
  const Floats magic = hn::Set(f, 12582912.f + 127.f);
  const Floats shifted = hn::Add(clamped, magic);
  const Floats r = hn::Sub(clamped, hn::Sub(shifted, magic));
  Floats p = hn::Set(f, 1.327638785998897e-3f);
  p = hn::MulAdd(p, r, hn::Set(f, 9.675519384163334e-3f));
  p = hn::MulAdd(p, r, hn::Set(f, 5.550713316842143e-2f));
  p = hn::MulAdd(p, r, hn::Set(f, 2.4022120142933878e-1f));
  p = hn::MulAdd(p, r, hn::Set(f, 6.931469671838598e-1f));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0000000715661854f));
  return hn::Mul(p, hn::BitCast(f, hn::ShiftLeft<23>(hn::BitCast(IntTag(), shifted))));
}

// Of each query: the maximum that its sums are by, what has been seen, the sum, what sums before are worth.
struct State {
  float *base, *largest, *total, *factor;
};

// A register tile: kHeight x kVectors accumulators over `depth` rows of B. `end` gets them by columns.
template <int kHeight, class End>
HWY_INLINE void register_tile(std::int64_t depth, const float* a, std::int64_t a_row, std::int64_t a_step,
                              const float* b, std::int64_t b_row, const End& end) {
  const FloatTag f;
  Floats acc[kVectors][kHeight];
  for (auto& column : acc) {
    for (Floats& x : column) x = hn::Zero(f);
  }
  for (std::int64_t l = 0; l < depth; ++l, a += a_step, b += b_row) {
    Floats row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(f, b + v * kLanes);
    for (int r = 0; r < kHeight; ++r) {
      const Floats x = hn::Set(f, a[r * a_row]);
      for (int v = 0; v < kVectors; ++v) acc[v][r] = hn::MulAdd(x, row[v], acc[v][r]);
    }
  }
  for (int v = 0; v < kVectors; ++v) end(v * kLanes, acc[v]);
}

// Calls end(first row, first column, vectors of as many rows) for all of a product.
template <class End>
HWY_INLINE void product(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a,
                        std::int64_t a_row, std::int64_t a_step, const float* b, std::int64_t b_row,
                        const End& end) {
  for (std::int64_t first = 0; first < rows; first += kRows) {
    for (std::int64_t c = 0; c < columns; c += kColumns) {
      const auto at = [&](std::int64_t v, const auto& x) HWY_ATTR { end(first, c + v, x); };
      const float* from = a + first * a_row;
      if (rows - first >= kRows) {
        register_tile<kRows>(depth, from, a_row, a_step, b + c, b_row, at);
      } else if (rows - first == 4) {  // 64 = 10·6 + 4
        register_tile<4>(depth, from, a_row, a_step, b + c, b_row, at);
      } else {  // 32 = 5·6 + 2
        register_tile<2>(depth, from, a_row, a_step, b + c, b_row, at);
      }
    }
  }
}

template <Traits kTraits>
class Pass {
 public:
  Pass(const Problem& problem, std::int64_t head)
      : p(problem), h(head), space_(static_cast<std::size_t>(kTraits.blocks * kBlock + kTile + 64)) {
    base_ = space_.data();
    while (reinterpret_cast<std::uintptr_t>(base_) % 64) ++base_;
  }

  void run(std::int64_t first) {
    const int blocks =
        static_cast<int>(std::min<std::int64_t>(kTraits.blocks, (p.length - first) / kTraits.queries));
    for (int n = 0; n < blocks; ++n) begin(n, first + n * kTraits.queries);
    for (std::int64_t j = 0; j < p.length; j += kKeys) {
      const std::int64_t keys = std::min(kKeys, p.length - j);
      const float *k = p.k + j * p.row() + h * kDim, *v = p.v + j * p.row() + h * kDim;
      std::int64_t row = p.row();
      if constexpr (kTraits.copies) {
        copy(k, keys, key_rows());
        copy(v, keys, value_rows());
        k = key_rows(), v = value_rows(), row = kDim;
      }
      for (int n = 0; n < blocks; ++n) attend(n, keys, k, v, row);
    }
    for (int n = 0; n < blocks; ++n) finish(n, first + n * kTraits.queries);
  }

 private:
  static constexpr std::int64_t kQ = kTraits.queries;
  static constexpr std::int64_t kBlock = 2 * kDim * kQ + 4 * kQ;  // Q, O, state
  static constexpr std::int64_t kTile = kKeys * kQ + 2 * kKeys * kDim;
  float* query(int n) { return base_ + n * kBlock; }
  float* output(int n) { return query(n) + kDim * kQ; }
  State state(int n) {
    float* at = output(n) + kDim * kQ;
    return {at, at + kQ, at + 2 * kQ, at + 3 * kQ};
  }
  float* scores() { return base_ + kTraits.blocks * kBlock; }
  float* key_rows() { return scores() + kKeys * kQ; }
  float* value_rows() { return key_rows() + kKeys * kDim; }

  void copy(const float* from, std::int64_t rows, float* to) {
    const FloatTag f;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t d = 0; d < kDim; d += kLanes)
        hn::StoreU(hn::LoadU(f, from + r * p.row() + d), f, to + r * kDim + d);
    }
  }

  void begin(int n, std::int64_t first) {
    const float scale = 1.44269504f / std::sqrt(static_cast<float>(kDim));
    for (std::int64_t i = 0; i < kQ; ++i) {
      for (std::int64_t d = 0; d < kDim; ++d)
        query(n)[d * kQ + i] = p.q[(first + i) * p.row() + h * kDim + d] * scale;
    }
    std::fill(output(n), output(n) + kDim * kQ, 0.f);
    const State s = state(n);
    std::fill(s.base, s.base + kQ, -INFINITY);
    std::fill(s.largest, s.largest + kQ, -INFINITY);
    std::fill(s.total, s.total + kQ, 0.f);
  }

  void attend(int n, std::int64_t keys, const float* k, const float* v, std::int64_t row) {
    const FloatTag f;
    const State s = state(n);
    bool same_base = false;
    if constexpr (kTraits.at_once) same_base = scores_at_once(n, keys, k, row);
    if (!same_base) {
      product(keys, kQ, kDim, k, row, 1, query(n), kQ,
              [&](std::int64_t r, std::int64_t c, const auto& x) HWY_ATTR {
                float* at = scores() + r * kQ + c;
                for (const Floats y : x) hn::StoreU(y, f, at), at += kQ;
              });
      for (std::int64_t c = 0; c < kQ; c += kLanes) exponentiate(n, keys, c);
    }
    float* out = output(n);
    if constexpr (kTraits.by_rows) {
      product(kQ, kDim, keys, scores(), 1, kQ, v, row,
              [&](std::int64_t r, std::int64_t c, const auto& x) HWY_ATTR {
                float* at = out + r * kDim + c;
                const float* factor = s.factor + r;
                for (const Floats y : x) {
                  hn::StoreU(hn::MulAdd(hn::LoadU(f, at), hn::Set(f, *factor++), y), f, at);
                  at += kDim;
                }
              });
    } else {
      product(kDim, kQ, keys, v, 1, row, scores(), kQ,
              [&](std::int64_t r, std::int64_t c, const auto& x) HWY_ATTR {
                float* at = out + r * kQ + c;
                const Floats factor = hn::LoadU(f, s.factor + c);
                for (const Floats y : x) {
                  hn::StoreU(hn::MulAdd(hn::LoadU(f, at), factor, y), f, at);
                  at += kQ;
                }
              });
    }
  }

  // Weights by the base of the tiles before. False, and nothing changed, where a score lies so far above it
  // that they would grow without bound, or nothing has been seen yet.
  bool scores_at_once(int n, std::int64_t keys, const float* k, std::int64_t row) {
    const FloatTag f;
    const State s = state(n);
    HWY_ALIGN float top[kQ], sum[kQ];
    std::copy(s.largest, s.largest + kQ, top);
    std::fill(sum, sum + kQ, 0.f);
    product(keys, kQ, kDim, k, row, 1, query(n), kQ,
            [&](std::int64_t r, std::int64_t c, const auto& x) HWY_ATTR {
              float* at = scores() + r * kQ + c;
              const Floats base = hn::LoadU(f, s.base + c);
              Floats most = hn::Load(f, top + c), more = hn::Load(f, sum + c);
              for (const Floats y : x) {
                const Floats weight = exp2(hn::Sub(y, base));
                most = hn::Max(most, y);
                more = hn::Add(more, weight);
                hn::StoreU(weight, f, at);
                at += kQ;
              }
              hn::Store(most, f, top + c);
              hn::Store(more, f, sum + c);
            });
    for (std::int64_t c = 0; c < kQ; c += kLanes) {
      const Floats most = hn::Add(hn::LoadU(f, s.base + c), hn::Set(f, 8.f));
      if (!hn::AllTrue(f, hn::Le(hn::Load(f, top + c), most))) return false;
    }
    for (std::int64_t c = 0; c < kQ; c += kLanes) {
      hn::StoreU(hn::Load(f, top + c), f, s.largest + c);
      hn::StoreU(hn::Add(hn::LoadU(f, s.total + c), hn::Load(f, sum + c)), f, s.total + c);
      hn::StoreU(hn::Set(f, 1.f), f, s.factor + c);
    }
    return true;
  }

  void exponentiate(int n, std::int64_t keys, std::int64_t c) {
    const FloatTag f;
    const State s = state(n);
    float* column = scores() + c;
    const Floats before = hn::LoadU(f, s.base + c);
    Floats top0 = hn::LoadU(f, s.largest + c), top1 = top0;
    for (std::int64_t j = 0; j < keys; j += 2) {
      top0 = hn::Max(top0, hn::LoadU(f, column + j * kQ));
      top1 = hn::Max(top1, hn::LoadU(f, column + (j + 1) * kQ));
    }
    const Floats top = hn::Max(top0, top1);
    const Floats factor = hn::IfThenElse(hn::Eq(before, top), hn::Set(f, 1.f), exp2(hn::Sub(before, top)));
    Floats sum0 = hn::Zero(f), sum1 = sum0;
    for (std::int64_t j = 0; j < keys; j += 2) {
      const Floats x0 = exp2(hn::Sub(hn::LoadU(f, column + j * kQ), top));
      const Floats x1 = exp2(hn::Sub(hn::LoadU(f, column + (j + 1) * kQ), top));
      hn::StoreU(x0, f, column + j * kQ);
      hn::StoreU(x1, f, column + (j + 1) * kQ);
      sum0 = hn::Add(sum0, x0);
      sum1 = hn::Add(sum1, x1);
    }
    hn::StoreU(top, f, s.base + c);
    hn::StoreU(top, f, s.largest + c);
    hn::StoreU(factor, f, s.factor + c);
    hn::StoreU(hn::MulAdd(hn::LoadU(f, s.total + c), factor, hn::Add(sum0, sum1)), f, s.total + c);
  }

  void finish(int n, std::int64_t first) {
    for (std::int64_t i = 0; i < kQ; ++i) {
      float* o = p.o + (first + i) * p.row() + h * kDim;
      for (std::int64_t d = 0; d < kDim; ++d)
        o[d] = output(n)[kTraits.by_rows ? i * kDim + d : d * kQ + i] / state(n).total[i];
    }
  }

  const Problem& p;
  std::int64_t h;
  std::vector<float> space_;
  float* base_;
};

template <Traits kTraits>
void run(const Problem& p) {
  for (std::int64_t h = 0; h < p.heads; ++h) {
    Pass<kTraits> pass(p, h);
    for (std::int64_t first = 0; first < p.length; first += kTraits.queries * kTraits.blocks) pass.run(first);
  }
}

}  // namespace

std::vector<Version> tiled_versions() {
  return {
      {"3", "tiles; vectors along so many queries as the registers hold", run<Traits{}>},
      {"4", "blocks of 64 queries", run<Traits{.queries = 64}>},
      {"5", "keys and values copied to adjacent rows", run<Traits{.queries = 64, .copies = true}>},
      {"6", "four blocks share the copies", run<Traits{.queries = 64, .blocks = 4, .copies = true}>},
      {"7", "O summed by rows", run<Traits{.queries = 64, .blocks = 4, .copies = true, .by_rows = true}>},
      {"7a", "7 with sixteen blocks of as many queries as the registers hold",
       run<Traits{.queries = kColumns, .blocks = 16, .copies = true, .by_rows = true}>},
      {"8", "7 with exponentials in the score product",
       run<Traits{.queries = 64, .blocks = 4, .copies = true, .by_rows = true, .at_once = true}>},
  };
}

}  // namespace headway::bench::lab
