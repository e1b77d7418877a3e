#include <headway/kernels/norm.h>

#include <algorithm>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/philox-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// s of one row, and the sum of its elements as stored.
template <typename T>
HWY_INLINE VF add_residual(const NormForward<T>& args, Decisions& decisions, std::int64_t row) {
  const F32 d;
  VF sum = hn::Zero(d);
  const std::int64_t base = row * args.dim;
  const bool drop = args.dropout.active();
  for (std::int64_t at = 0; at < args.dim; at += kDropoutChunk) {
    const std::int64_t count = std::min(kDropoutChunk, args.dim - at);
    if (drop) decisions.draw_from(base + at, count);
    const T* x = args.x + base + at;
    const T* residual = args.residual ? args.residual + base + at : nullptr;
    T* s = args.sum + base + at;
    for_vectors(count, [&](std::int64_t i, auto part) HEADWAY_BODY {
      VF v = load(d, x + i, part);
      if (drop) v = decisions.apply(v, i);
      if (residual) v = hn::Add(v, load(d, residual + i, part));
      if constexpr (sizeof(T) == 2) v = widen(narrow(v));
      store(d, v, s + i, part);
      sum = hn::Add(sum, only(d, v, hn::Zero(d), part));
    });
  }
  return sum;
}

template <typename T>
void forward_rows(const NormForward<T>& args, std::int64_t begin, std::int64_t end) {
  const F32 d;
  const std::int64_t dim = args.dim;
  const float inverse = 1.0f / static_cast<float>(dim);
  Decisions decisions(args.dropout);
  for (std::int64_t row = begin; row < end; ++row) {
    VF sum = hn::Zero(d);
    const T* s = args.sum ? args.sum + row * dim : args.x + row * dim;
    if (args.sum) {
      sum = add_residual(args, decisions, row);
    } else if (!args.rms) {
      for_vectors(dim,
                  [&](std::int64_t i, auto part) HEADWAY_BODY { sum = hn::Add(sum, load(d, s + i, part)); });
    }
    const float mean = args.rms ? 0.0f : total(sum) * inverse;
    const VF center = hn::Set(d, mean);
    VF squares = hn::Zero(d);
    for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
      const VF v = only(d, hn::Sub(load(d, s + i, part), center), hn::Zero(d), part);
      squares = hn::MulAdd(v, v, squares);
    });
    const float rstd = 1.0f / std::sqrt(total(squares) * inverse + static_cast<float>(args.eps));
    const VF factor = hn::Set(d, rstd);
    T* out = args.output + row * dim;
    for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
      const VF hat = hn::Mul(hn::Sub(load(d, s + i, part), center), factor);
      const VF w = load(d, args.weight + i, part);
      store(d, args.bias ? hn::MulAdd(hat, w, load(d, args.bias + i, part)) : hn::Mul(hat, w), out + i, part);
    });
    if (args.mean) args.mean[row] = mean;
    args.rstd[row] = rstd;
  }
}

template <typename T>
void backward_block(const NormBackward<T>& args, std::int64_t block) {
  const F32 d;
  const std::int64_t dim = args.dim;
  const std::int64_t rows = norm_block_rows(args.rows);
  const float inverse = 1.0f / static_cast<float>(dim);
  float* d_weight = args.partials + 2 * block * dim;
  float* d_bias = d_weight + dim;
  std::fill_n(d_weight, 2 * dim, 0.0f);
  const bool drop = args.dropout.active() && args.d_x;
  Decisions decisions(args.dropout);
  for (std::int64_t row = block * rows; row < std::min(args.rows, (block + 1) * rows); ++row) {
    const std::int64_t base = row * dim;
    const T* s = args.s + base;
    const T* dy = args.d_output + base;
    const VF center = hn::Set(d, args.mean ? args.mean[row] : 0.0f);
    const VF factor = hn::Set(d, args.rstd[row]);
    VF sum_g = hn::Zero(d), sum_gh = hn::Zero(d);
    for_vectors(dim, [&](std::int64_t i, auto part) HEADWAY_BODY {
      const VF grad = load(d, dy + i, part);
      const VF hat = hn::Mul(hn::Sub(load(d, s + i, part), center), factor);
      const VF g = hn::Mul(grad, load(d, args.weight + i, part));
      sum_g = hn::Add(sum_g, g);
      // At the tail g is 0 while hat need not be: the product is 0 too.
      sum_gh = hn::MulAdd(g, only(d, hat, hn::Zero(d), part), sum_gh);
      store(d, hn::MulAdd(grad, hat, load(d, d_weight + i, part)), d_weight + i, part);
      store(d, hn::Add(grad, load(d, d_bias + i, part)), d_bias + i, part);
    });
    if (!args.d_s && !args.d_x) continue;
    const VF mean_g = hn::Set(d, args.mean ? total(sum_g) * inverse : 0.0f);
    const VF mean_gh = hn::Set(d, total(sum_gh) * inverse);
    for (std::int64_t at = 0; at < dim; at += kDropoutChunk) {
      const std::int64_t count = std::min(kDropoutChunk, dim - at);
      if (drop) decisions.draw_from(base + at, count);
      for_vectors(count, [&](std::int64_t j, auto part) HEADWAY_BODY {
        const std::int64_t i = at + j;
        const VF hat = hn::Mul(hn::Sub(load(d, s + i, part), center), factor);
        const VF g = hn::Mul(load(d, dy + i, part), load(d, args.weight + i, part));
        VF ds = hn::Mul(factor, hn::Sub(hn::NegMulAdd(hat, mean_gh, g), mean_g));
        if (args.d_sum) ds = hn::Add(ds, load(d, args.d_sum + base + i, part));
        if (args.d_s) store(d, ds, args.d_s + base + i, part);
        if (args.d_x) store(d, drop ? decisions.apply(ds, j) : ds, args.d_x + base + i, part);
      });
    }
  }
}

#define HEADWAY_FOR(T, SUFFIX)                                                              \
  void forward_##SUFFIX(const NormForward<T>& args, std::int64_t begin, std::int64_t end) { \
    forward_rows(args, begin, end);                                                         \
  }                                                                                         \
  void backward_##SUFFIX(const NormBackward<T>& args, std::int64_t block) { backward_block(args, block); }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {

void add_partials(std::int64_t blocks, std::int64_t dim, const float* partials, float* d_weight,
                  float* d_bias) {
  core::parallel_ranges(dim, 256, [&](std::int64_t begin, std::int64_t end) {
    if (d_weight) std::fill(d_weight + begin, d_weight + end, 0.0f);
    if (d_bias) std::fill(d_bias + begin, d_bias + end, 0.0f);
    for (std::int64_t block = 0; block < blocks; ++block) {
      const float* row = partials + 2 * block * dim;
      for (std::int64_t i = begin; d_weight && i < end; ++i) d_weight[i] += row[i];
      for (std::int64_t i = begin; d_bias && i < end; ++i) d_bias[i] += row[dim + i];
    }
  });
}

}  // namespace

#define HEADWAY_FOR(T, SUFFIX)                                                                             \
  HWY_EXPORT(forward_##SUFFIX);                                                                            \
  HWY_EXPORT(backward_##SUFFIX);                                                                           \
  template <>                                                                                              \
  void norm_forward(const NormForward<T>& args) {                                                          \
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 13) / std::max<std::int64_t>(1, args.dim)); \
    core::parallel_ranges(args.rows, grain, [&](std::int64_t begin, std::int64_t end) {                    \
      HWY_DYNAMIC_DISPATCH(forward_##SUFFIX)(args, begin, end);                                            \
    });                                                                                                    \
  }                                                                                                        \
  template <>                                                                                              \
  void norm_backward(const NormBackward<T>& args) {                                                        \
    const std::int64_t blocks = norm_blocks(args.rows);                                                    \
    core::parallel_for(blocks, [&](std::int64_t block) {                                                   \
      HWY_DYNAMIC_DISPATCH(backward_##SUFFIX)(args, block);                                                \
    });                                                                                                    \
    add_partials(blocks, args.dim, args.partials, args.d_weight, args.d_bias);                             \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
#endif
