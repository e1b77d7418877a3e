#pragma once
#include <algorithm>
#include <cstdint>

#include <headway/kernels/row_gemm.h>

// How a product is cut, shared by the code for every instruction set.
namespace headway::inline v1::kernels {

enum class Multiply {
  floats,   // words are float32
  pairs,    // words are two bfloat16, multiplied by one instruction
  widened,  // the same words of W, each half widened to float32; X is widened when packed
};

// A product in terms of 32-bit words: `depth` words of W for each output, in panels of kPackedOutputs. X is
// packed by groups of rows as large as a register tile: [depth · x_words][rows of the group].
struct RowGemmTask {
  const RowGemmArgs* args = nullptr;
  Multiply multiply = Multiply::floats;
  std::int64_t depth = 0, x_words = 1;
  std::int64_t groups = 0;
  const float* x = nullptr;

  std::int64_t first_row(std::int64_t group) const {
    return group * (args->m / groups) + std::min(group, args->m % groups);
  }
  std::int64_t rows(std::int64_t group) const { return first_row(group + 1) - first_row(group); }
  const float* x_of(std::int64_t group) const { return x + first_row(group) * depth * x_words; }
  const float* panel(std::int64_t number) const {
    return static_cast<const float*>(args->w) + number * depth * kPackedOutputs;
  }
};

// A rectangle of the result: panels and groups [begin, end). One thread computes it.
struct RowGemmUnit {
  std::int64_t panel_begin = 0, panel_end = 0, group_begin = 0, group_end = 0;
};

constexpr std::int64_t words_of(DType dtype, std::int64_t k) {
  return dtype == DType::bfloat16 ? (k + 1) / 2 : k;
}

}  // namespace headway::inline v1::kernels
