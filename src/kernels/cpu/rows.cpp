#include <headway/kernels/rows.h>

#include <algorithm>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

template <typename Table, typename Out>
void lookup_range(const Lookup<Table, Out>& args, std::int64_t begin, std::int64_t end) {
  const F32 d;
  const VF factor = hn::Set(d, static_cast<float>(args.scale));
  for (std::int64_t i = begin; i < end; ++i) {
    const Table* row = args.table + args.ids[i] * args.dim;
    const Table* position = args.positions ? args.positions + args.position_ids[i] * args.dim : nullptr;
    Out* out = args.out + i * args.dim;
    for_vectors(args.dim, [&](std::int64_t j, auto part) HEADWAY_BODY {
      VF v = hn::Mul(load(d, row + j, part), factor);
      if (position) v = hn::Add(v, load(d, position + j, part));
      store(d, v, out + j, part);
    });
  }
}

template <typename Grad, typename Table>
void scatter_range(const Scatter<Grad, Table>& args, std::int64_t begin, std::int64_t end) {
  const F32 d;
  constexpr std::int64_t kChunk = 512;
  HWY_ALIGN float sums[kChunk];
  for (std::int64_t r = begin; r < end; ++r) {
    for (std::int64_t at = 0; at < args.dim; at += kChunk) {
      const std::int64_t count = std::min(kChunk, args.dim - at);
      Table* out = args.d_table + r * args.dim + at;
      std::fill_n(sums, count, 0.0f);
      for (std::int32_t place = args.starts[r]; place < args.starts[r + 1]; ++place) {
        const Grad* grad = args.d_out + args.order[place] * args.dim + at;
        for_vectors(count, [&](std::int64_t j, auto part) HEADWAY_BODY {
          store(d, hn::Add(load(d, sums + j, part), load(d, grad + j, part)), sums + j, part);
        });
      }
      for_vectors(count, [&](std::int64_t j, auto part) HEADWAY_BODY {
        store(d, hn::Mul(load(d, sums + j, part), hn::Set(d, static_cast<float>(args.scale))), out + j, part);
      });
    }
  }
}

#define HEADWAY_FOR(A, B, SUFFIX)                                                          \
  void lookup_##SUFFIX(const Lookup<A, B>& args, std::int64_t begin, std::int64_t end) {   \
    lookup_range(args, begin, end);                                                        \
  }                                                                                        \
  void scatter_##SUFFIX(const Scatter<B, A>& args, std::int64_t begin, std::int64_t end) { \
    scatter_range(args, begin, end);                                                       \
  }
HEADWAY_FOR(float, float, f32)
HEADWAY_FOR(float, bfloat16, mixed)
HEADWAY_FOR(bfloat16, bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
std::int64_t row_grain(std::int64_t dim) {
  return std::max<std::int64_t>(1, (1 << 14) / std::max<std::int64_t>(1, dim));
}
}  // namespace

void group_by_row(const std::int32_t* ids, std::int64_t count, std::int64_t rows, std::int32_t* starts,
                  std::int32_t* order) {
  std::fill_n(starts, rows + 1, 0);
  for (std::int64_t i = 0; i < count; ++i) ++starts[ids[i] + 1];
  for (std::int64_t r = 0; r < rows; ++r) starts[r + 1] += starts[r];
  // Places go in backwards, which moves every start from its row's end (the next row's start) down to its
  // own.
  for (std::int64_t i = count - 1; i >= 0; --i) order[--starts[ids[i] + 1]] = static_cast<std::int32_t>(i);
  for (std::int64_t r = 0; r < rows; ++r) starts[r] = starts[r + 1];
  starts[rows] = static_cast<std::int32_t>(count);
}

#define HEADWAY_FOR(A, B, SUFFIX)                                                                      \
  HWY_EXPORT(lookup_##SUFFIX);                                                                         \
  HWY_EXPORT(scatter_##SUFFIX);                                                                        \
  template <>                                                                                          \
  void lookup(const Lookup<A, B>& args) {                                                              \
    core::parallel_ranges(args.count, row_grain(args.dim), [&](std::int64_t begin, std::int64_t end) { \
      HWY_DYNAMIC_DISPATCH(lookup_##SUFFIX)(args, begin, end);                                         \
    });                                                                                                \
  }                                                                                                    \
  template <>                                                                                          \
  void scatter(const Scatter<B, A>& args) {                                                            \
    core::parallel_ranges(args.rows, row_grain(args.dim), [&](std::int64_t begin, std::int64_t end) {  \
      HWY_DYNAMIC_DISPATCH(scatter_##SUFFIX)(args, begin, end);                                        \
    });                                                                                                \
  }
HEADWAY_FOR(float, float, f32)
HEADWAY_FOR(float, bfloat16, mixed)
HEADWAY_FOR(bfloat16, bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
#endif
