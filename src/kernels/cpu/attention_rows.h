#pragma once
#include <cstdint>

#include <headway/kernels/attention.h>

namespace headway::inline v1::kernels {

/// Attention of the sequences that is_row() names: single queries, as decoding has them.
void forward_rows(const AttentionArgs& args, float* workspace);
/// Floats of its workspace for `threads` threads.
std::int64_t rows_workspace(const AttentionArgs& args, int threads);

}  // namespace headway::inline v1::kernels
