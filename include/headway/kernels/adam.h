#pragma once
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/core/export.h>

namespace headway::inline v1::kernels {

/// One step of Adam (Kingma & Ba 2015, algorithm 1), its factors already put together:
///   g  = gradient_scale·gradient + coupled_decay·w
///   m  ← beta1·m + (1 - beta1)·g          v ← beta2·v + (1 - beta2)·g²
///   w  ← shrink·w - rate·m / (second_scale·√v + eps)
/// with rate = α/(1 - beta1^t) and second_scale = 1/√(1 - beta2^t), which is α·m̂/(√v̂ + eps);
/// shrink = 1 - α·λ is the decoupled weight decay of AdamW (Loshchilov & Hutter 2019, algorithm 2).
struct AdamFactors {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double rate = 0;
  double second_scale = 1;
  double gradient_scale = 1;
  double coupled_decay = 0;
  double shrink = 1;
};

/// Updates weight, first (m) and second (v) of `count` elements in place, in one pass. float32 or float64.
HEADWAY_API void adam(DType dtype, void* weight, const void* gradient, void* first, void* second,
                      std::int64_t count, const AdamFactors& factors);
/// Σ x², added up in float64.
HEADWAY_API double sum_of_squares(DType dtype, const void* x, std::int64_t count);
/// average ← keep·average + (1 - keep)·x.
HEADWAY_API void blend(DType dtype, void* average, const void* x, std::int64_t count, double keep);

}  // namespace headway::inline v1::kernels
