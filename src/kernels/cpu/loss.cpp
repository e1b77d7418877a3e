#include <headway/kernels/loss.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/loss.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/rows-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

template <typename T>
void forward_rows(const CrossEntropy<T>& args, float* lse, double* losses, std::int64_t begin,
                  std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const T* logits = args.logits + row * args.classes;
    const std::int32_t target = args.targets[row];
    if (target == args.ignore_index) {
      lse[row] = 0;
      losses[row] = 0;
      continue;
    }
    // Losses are differences from the maximum, in float64: lse itself may be large where its float32 is
    // coarse.
    const float largest = row_max(logits, args.classes);
    const double log_sum = std::log(static_cast<double>(row_exp_sum(logits, args.classes, largest)));
    lse[row] = static_cast<float>(largest + log_sum);
    const double nll = log_sum + largest - static_cast<double>(static_cast<float>(logits[target]));
    losses[row] = nll;
    if (args.smoothing != 0) {
      const double mean =
          static_cast<double>(row_sum(logits, args.classes)) / static_cast<double>(args.classes);
      losses[row] = (1 - args.smoothing) * nll + args.smoothing * (log_sum + largest - mean);
    }
  }
}

template <typename T>
void backward_rows(const CrossEntropy<T>& args, const float* lse, float factor, T* d_logits,
                   std::int64_t begin, std::int64_t end) {
  const F32 d;
  const VF scale = hn::Set(d, factor);
  const auto spread = static_cast<float>(args.smoothing / static_cast<double>(args.classes));
  const VF offset = hn::Set(d, -spread * factor);
  for (std::int64_t row = begin; row < end; ++row) {
    const T* logits = args.logits + row * args.classes;
    T* out = d_logits + row * args.classes;
    const std::int32_t target = args.targets[row];
    if (target == args.ignore_index) {
      std::fill_n(out, args.classes, T(0.0f));
      continue;
    }
    const VF shift = hn::Set(d, lse[row]);
    for_vectors(args.classes, [&](std::int64_t i, auto part) HEADWAY_BODY {
      store(d, hn::MulAdd(exp_of(hn::Sub(load(d, logits + i, part), shift)), scale, offset), out + i, part);
    });
    // Not from the stored value, which bfloat16 has rounded already; 1 - p does not cancel for a sure, wrong
    // model.
    const double p = std::exp(static_cast<double>(static_cast<float>(logits[target])) - lse[row]);
    out[target] = T(static_cast<float>(factor * (p - (1 - args.smoothing) - spread)));
  }
}

template <typename T>
void score_rows(const CrossEntropy<T>& args, float* log_probability, bool* correct, std::int64_t begin,
                std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const T* logits = args.logits + row * args.classes;
    const std::int32_t target = args.targets[row];
    const float largest = row_max(logits, args.classes);
    const double log_sum = std::log(static_cast<double>(row_exp_sum(logits, args.classes, largest)));
    const auto value = static_cast<float>(logits[target]);
    log_probability[row] = static_cast<float>(static_cast<double>(value) - largest - log_sum);
    bool first = value == largest;
    for (std::int32_t i = 0; first && i < target; ++i) first = static_cast<float>(logits[i]) != largest;
    correct[row] = first;
  }
}

#define HEADWAY_FOR(T, SUFFIX)                                                                       \
  void forward_##SUFFIX(const CrossEntropy<T>& args, float* lse, double* losses, std::int64_t begin, \
                        std::int64_t end) {                                                          \
    forward_rows(args, lse, losses, begin, end);                                                     \
  }                                                                                                  \
  void backward_##SUFFIX(const CrossEntropy<T>& args, const float* lse, float factor, T* d_logits,   \
                         std::int64_t begin, std::int64_t end) {                                     \
    backward_rows(args, lse, factor, d_logits, begin, end);                                          \
  }                                                                                                  \
  void scores_##SUFFIX(const CrossEntropy<T>& args, float* log_probability, bool* correct,           \
                       std::int64_t begin, std::int64_t end) {                                       \
    score_rows(args, log_probability, correct, begin, end);                                          \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
namespace {
constexpr std::int64_t kRows = 4;  // a row of a vocabulary is thousands of elements
}

#define HEADWAY_FOR(T, SUFFIX)                                                                              \
  HWY_EXPORT(forward_##SUFFIX);                                                                             \
  HWY_EXPORT(backward_##SUFFIX);                                                                            \
  HWY_EXPORT(scores_##SUFFIX);                                                                              \
  template <>                                                                                               \
  void cross_entropy_forward(const CrossEntropy<T>& args, float* lse, double* losses) {                     \
    core::parallel_ranges(args.rows, kRows, [&](std::int64_t begin, std::int64_t end) {                     \
      HWY_DYNAMIC_DISPATCH(forward_##SUFFIX)(args, lse, losses, begin, end);                                \
    });                                                                                                     \
  }                                                                                                         \
  template <>                                                                                               \
  void cross_entropy_backward(const CrossEntropy<T>& args, const float* lse, double factor, T* d_logits) {  \
    core::parallel_ranges(args.rows, kRows, [&](std::int64_t begin, std::int64_t end) {                     \
      HWY_DYNAMIC_DISPATCH(backward_##SUFFIX)(args, lse, static_cast<float>(factor), d_logits, begin, end); \
    });                                                                                                     \
  }                                                                                                         \
  template <>                                                                                               \
  void token_scores(const CrossEntropy<T>& args, float* log_probability, bool* correct) {                   \
    core::parallel_ranges(args.rows, kRows, [&](std::int64_t begin, std::int64_t end) {                     \
      HWY_DYNAMIC_DISPATCH(scores_##SUFFIX)(args, log_probability, correct, begin, end);                    \
    });                                                                                                     \
  }
HEADWAY_FOR(float, f32)
HEADWAY_FOR(bfloat16, bf16)
#undef HEADWAY_FOR

}  // namespace headway::inline v1::kernels
#endif
