// bench_row_gemm [--threads N] [--dtype float32|bfloat16] [--inputs K --outputs N] [--rows M] [--milliseconds
// T]
//   Products whose rows do not depend on their number beside oneDNN's on weights packed for each, in pieces
//   of T milliseconds that alternate; checks first that they agree. One line for each shape and number of
//   rows: the best GFLOP/s of both, the median of their ratio, the share of the multiply-adds that registers
//   alone do in the same run, and, for one row, the share of what a plain read of as many bytes reads.
//   DNNL_MAX_CPU_ISA and
//   --isa avx2|sse4 hold both sides to older processors.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <vector>

#include <fmt/format.h>
#include <hwy/targets.h>

#include <headway/core/allocator.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/core/parallel.h>
#include <headway/kernels/gemm.h>
#include <headway/kernels/row_gemm.h>
#include <headway/ops/views.h>

#include "support/ceiling.h"
#include "support/worker.h"

namespace headway::bench {
namespace {

struct Shape2 {
  std::int64_t inputs, outputs;
};
constexpr Shape2 kShapes[] = {{384, 1536}, {576, 1536}, {576, 49152}, {2048, 2048}, {4096, 11008}};
constexpr std::int64_t kRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};

// A neighbour can only slow a piece down.
double best(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One weight, packed both ways.
struct Weight {
  Weight(const Shape2& shape, DType type)
      : sizes(shape),
        dtype(type),
        rows(kernels::packed_weight_bytes(type, shape.outputs, shape.inputs)),
        reordered(kernels::packed_bytes(type, shape.inputs, shape.outputs)) {
    Generator generator(1);
    const Tensor w = randn({shape.outputs, shape.inputs}, generator);
    kernels::pack_weight({.n = shape.outputs,
                          .k = shape.inputs,
                          .dtype = type,
                          .packed = rows.as<void>(),
                          .rows = shape.outputs,
                          .w = w.raw(),
                          .w_row = shape.inputs});
    kernels::pack(DType::float32, w.raw(), 1, shape.inputs, type, shape.inputs, shape.outputs,
                  reordered.as<void>());
  }
  Shape2 sizes;
  DType dtype;
  core::Workspace rows, reordered;
};

struct Product {
  Product(const Weight& weight, std::int64_t m) : w(weight), count(m) {
    Generator generator(2);
    x = cast(randn({m, w.sizes.inputs}, generator), w.dtype);
    ours = zeros({m, w.sizes.outputs});
    theirs = zeros({m, w.sizes.outputs});
  }
  void run_ours() const {
    kernels::row_gemm({.m = count,
                       .n = w.sizes.outputs,
                       .k = w.sizes.inputs,
                       .dtype = w.dtype,
                       .x = x.raw(),
                       .x_row = w.sizes.inputs,
                       .w = w.rows.as<void>(),
                       .y = ours.raw(),
                       .y_row = w.sizes.outputs});
  }
  void run_theirs() const {
    kernels::gemm({.m = count,
                   .n = w.sizes.outputs,
                   .k = w.sizes.inputs,
                   .dtype = w.dtype,
                   .a = x.raw(),
                   .a_row = w.sizes.inputs,
                   .b = w.reordered.as<void>(),
                   .b_packed = true,
                   .c = theirs.raw(),
                   .c_row = w.sizes.outputs});
  }
  // Both add products of the same numbers in float32, each with an error of at most k·2⁻²⁴ of their sizes'
  // sum.
  void check() const {
    run_ours();
    run_theirs();
    const double k = static_cast<double>(w.sizes.inputs), bound = 2 * k * 0x1p-24 * k;
    for (std::int64_t i = 0; i < ours.numel(); ++i) {
      const double difference =
          std::abs(static_cast<double>(ours.data<float>()[i]) - theirs.data<float>()[i]);
      if (!(difference <= bound)) fail(ErrorCode::internal, "bench_row_gemm", "the products differ");
    }
  }
  const Weight& w;
  std::int64_t count;
  Tensor x, ours, theirs;
};

double seconds_of(const std::function<void()>& run, double at_least) {
  const double begin = now();
  for (std::int64_t runs = 1;; ++runs) {
    run();
    if (const double spent = now() - begin; spent >= at_least) return spent / static_cast<double>(runs);
  }
}

struct Ceilings {
  double float32, bf16;
};

void measure(const Weight& weight, std::int64_t m, int thread_count, double piece, const Ceilings& ceilings) {
  const Product product(weight, m);
  product.check();
  constexpr int kRounds = 7;
  std::vector<double> ours, theirs, ratios;
  double read = 0;
  const auto bytes = static_cast<std::int64_t>(weight.rows.bytes());
  for (int round = 0; round < kRounds; ++round) {
    ours.push_back(seconds_of([&] { product.run_ours(); }, piece));
    theirs.push_back(seconds_of([&] { product.run_theirs(); }, piece));
    ratios.push_back(theirs.back() / ours.back());
    if (m == 1 && round % 3 == 0) read = std::max(read, read_ceiling(thread_count, bytes / 2));
  }
  const double operations = 2 * static_cast<double>(m * weight.sizes.inputs * weight.sizes.outputs);
  const bool pairs = weight.dtype == DType::bfloat16 && ceilings.bf16 > 0;
  const double rate = operations / best(ours) / 1e9;
  fmt::print(
      "{:8} {:5} x {:<5} M {:3}: {:7.1f} GFLOP/s, {:4.1f} % of multiply-adds, oneDNN {:7.1f}, ratio {:5.2f}",
      name_of(weight.dtype), weight.sizes.inputs, weight.sizes.outputs, m, rate,
      100 * rate / (pairs ? ceilings.bf16 : ceilings.float32), operations / best(theirs) / 1e9,
      median(ratios));
  if (m == 1) {
    const double got = static_cast<double>(bytes) / best(ours) / 1e9;
    fmt::print(", {:.1f} GB/s of {:.1f}: {:.0f} %", got, read, 100 * got / read);
  }
  fmt::print("\n");
  std::fflush(stdout);
}

void run(const Arguments& arguments) {
  const std::string isa = arguments.text("isa", "");
  if (!isa.empty()) hwy::DisableTargets((isa == "sse4" ? HWY_SSE4 : HWY_AVX2) - 1);
  const auto thread_count = static_cast<int>(arguments.number("threads", 1));
  const double piece = static_cast<double>(arguments.number("milliseconds", 20)) / 1000;
  std::vector<Shape2> shapes(std::begin(kShapes), std::end(kShapes));
  if (const std::int64_t inputs = arguments.number("inputs", 0))
    shapes = {{inputs, arguments.number("outputs", inputs)}};
  std::vector<std::int64_t> rows(std::begin(kRows), std::end(kRows));
  if (const std::int64_t m = arguments.number("rows", 0)) rows = {m};
  const std::string dtype = arguments.text("dtype", "");
  const Ceilings ceilings{fma_ceiling(thread_count), isa.empty() ? bf16_ceiling(thread_count) : 0};
  fmt::print("{} threads; multiply-adds in registers: float32 {:.1f}, bfloat16 {:.1f} GFLOP/s\n",
             thread_count, ceilings.float32, ceilings.bf16);
  set_threads(thread_count);
  for (const DType type : {DType::float32, DType::bfloat16}) {
    if (!dtype.empty() && dtype != name_of(type)) continue;
    for (const Shape2& shape : shapes) {
      const Weight weight(shape, type);
      for (const std::int64_t m : rows) measure(weight, m, thread_count, piece, ceilings);
    }
  }
}

}  // namespace
}  // namespace headway::bench

int main(int argc, char** argv) {
  return headway::bench::guarded([&] { headway::bench::run(headway::bench::Arguments(argc, argv)); });
}
