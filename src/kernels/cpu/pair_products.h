#pragma once
#include <headway/kernels/attention.h>

namespace headway::inline v1::kernels {

/// True when the processor multiplies pairs of bfloat16 in one instruction (and the tests let it).
bool multiplies_pairs();

/// True when these tensors of bfloat16 are multiplied in pairs, as they are: the processor does so, D and Dv
/// are even, rows begin at words, and no vectors of distances, which are float32, join in.
bool in_pairs(const AttentionArgs& args);
bool in_pairs(const AttentionGradArgs& args);

}  // namespace headway::inline v1::kernels
