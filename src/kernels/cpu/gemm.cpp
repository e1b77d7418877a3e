// How products are cut into pieces for threads, by shape alone; each piece is one call of oneDNN.
#include <headway/kernels/gemm.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/kernels/transpose.h>

#include "kernels/cpu/onednn.h"
#include "kernels/cpu/scratch.h"

namespace headway::inline v1::kernels {
namespace {

using onednn::execute;
using onednn::Product;

// Tokens that a weight gradient takes at a time: with 256 columns of X that is half of a 1 MiB L2, and the
// lengths that occur (512, and multiples of 16 below) are few primitives.
constexpr std::int64_t kDepth = 512;
// Few rows alone would leave threads idle (decoding): then columns are cut, in pieces of 8 of the layout's
// blocks of 64.
constexpr std::int64_t kFewRows = 32;
constexpr std::int64_t kPieceColumns = 512;

// Lengths at 16-steps, then the rest below 16: few shapes, so few primitives to compile, whatever the batch.
template <typename Call>
void in_steps(std::int64_t begin, std::int64_t end, Call&& call) {
  const std::int64_t whole = (end - begin) / 16 * 16;
  if (whole > 0) call(begin, begin + whole);
  if (begin + whole < end) call(begin + whole, end);
}

// Rows of C (and A) in one unit. Each call of oneDNN costs one to two microseconds, so units are as large as
// leaves a dozen of them.
std::int64_t rows_per_unit(std::int64_t m) { return m >= 1024 ? 128 : m >= 256 ? 64 : 32; }

// C [rows, n] is cut by columns: each piece goes through a dense buffer, since oneDNN's fast kernels write no
// other.
void gemm_few_rows(const GemmArgs& args) {
  const auto out = static_cast<std::int64_t>(size_of(args.c_dtype));
  const std::size_t piece_bytes = packed_bytes(args.dtype, args.k, kPieceColumns);
  const Product product{
      args.m,     kPieceColumns, args.k,        args.a_row, args.a_col,           0,    0, kPieceColumns,
      args.dtype, args.c_dtype,  args.epilogue, true,       args.bias != nullptr, false};
  core::parallel_for(args.n / kPieceColumns, [&](std::int64_t piece) {
    thread_local Scratch buffer;
    auto* dense =
        static_cast<char*>(buffer.at_least(static_cast<std::size_t>(kFewRows * kPieceColumns * out)));
    const std::int64_t column = piece * kPieceColumns;
    execute(product, args.a, static_cast<const char*>(args.b) + static_cast<std::size_t>(piece) * piece_bytes,
            args.bias ? args.bias + column : nullptr, dense);
    for (std::int64_t i = 0; i < args.m; ++i) {
      std::memcpy(static_cast<char*>(args.c) + (i * args.c_row + column) * out,
                  dense + i * kPieceColumns * out, static_cast<std::size_t>(kPieceColumns * out));
    }
  });
}

}  // namespace

void gemm(const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) fail(ErrorCode::shape, "gemm", "inner dimension is 0; want at least 1");
  if (args.b_packed && args.m <= kFewRows && !args.accumulate && args.n > kPieceColumns &&
      onednn::columns_in_pieces(args.dtype, args.k, args.n, kPieceColumns)) {
    return gemm_few_rows(args);
  }
  const auto in = static_cast<std::int64_t>(size_of(args.dtype));
  const auto out = static_cast<std::int64_t>(size_of(args.c_dtype));
  core::parallel_ranges(args.m, rows_per_unit(args.m), [&](std::int64_t begin, std::int64_t end) {
    in_steps(begin, end, [&](std::int64_t i0, std::int64_t i1) {
      const Product product{i1 - i0,
                            args.n,
                            args.k,
                            args.a_row,
                            args.a_col,
                            args.b_packed ? 0 : args.b_row,
                            args.b_packed ? 0 : args.b_col,
                            args.c_row,
                            args.dtype,
                            args.c_dtype,
                            args.epilogue,
                            args.b_packed,
                            args.bias != nullptr,
                            args.accumulate};
      execute(product, static_cast<const char*>(args.a) + i0 * args.a_row * in, args.b, args.bias,
              static_cast<char*>(args.c) + i0 * args.c_row * out);
    });
  });
}

std::size_t weight_gradient_workspace(const WeightGradientArgs& args) {
  return static_cast<std::size_t>(args.tokens * args.outputs) * size_of(args.dtype);
}

void weight_gradient(const WeightGradientArgs& args, void* workspace) {
  // dYᵀ, cut by tokens in pieces [outputs][length] that are dense, as oneDNN's fast kernels want them.
  std::vector<std::pair<std::int64_t, std::int64_t>> pieces;
  for (std::int64_t t = 0; t < args.tokens; t += kDepth) {
    in_steps(t, std::min(args.tokens, t + kDepth),
             [&](std::int64_t t0, std::int64_t t1) { pieces.emplace_back(t0, t1); });
  }
  const auto in = static_cast<std::int64_t>(size_of(args.dtype));
  const auto transposed = [&](std::int64_t t0) {
    return static_cast<char*>(workspace) + t0 * args.outputs * in;
  };
  constexpr std::int64_t kColumns = 64;
  const std::int64_t blocks = (args.outputs + kColumns - 1) / kColumns;
  core::parallel_for(static_cast<std::int64_t>(pieces.size()) * blocks, [&](std::int64_t unit) {
    const auto [t0, t1] = pieces[static_cast<std::size_t>(unit / blocks)];
    const std::int64_t o0 = unit % blocks * kColumns;
    const std::int64_t o1 = std::min(args.outputs, o0 + kColumns);
    transpose_elements(args.dtype, static_cast<const char*>(args.dy) + (t0 * args.dy_row + o0) * in,
                       args.dy_row, t1 - t0, o1 - o0, transposed(t0) + o0 * (t1 - t0) * in, t1 - t0);
  });
  // oneDNN copies X for each block of rows anew, so blocks are as large as leaves every thread some.
  core::parallel_ranges(args.outputs, args.outputs >= 512 ? 128 : 64, [&](std::int64_t o0, std::int64_t o1) {
    for (const auto& [t0, t1] : pieces) {
      const std::int64_t length = t1 - t0;
      const Product product{o1 - o0,        args.inputs, length,      length,     1,
                            args.x_row,     1,           args.inputs, args.dtype, DType::float32,
                            Epilogue::none, false,       false,       t0 > 0};
      execute(product, transposed(t0) + o0 * length * in,
              static_cast<const char*>(args.x) + t0 * args.x_row * in, nullptr, args.dw + o0 * args.inputs);
    }
  });
}

}  // namespace headway::inline v1::kernels
