#pragma once
#include <cstdint>

namespace headway::bench {

/// What masks, biases and positions cost beside plain attention of one sequence, H = 8, D = 64, float32: a
/// table of times, forward and backward, over plain attention's; where pairs are hidden, also over their
/// share of it. All variants take turns, `rounds` times; medians.
void print_variants(std::int64_t length, int rounds);

}  // namespace headway::bench
