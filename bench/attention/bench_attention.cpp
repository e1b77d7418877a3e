// bench_attention --do check
//   compares the kernels with float64 loops on the grid's head sizes and lengths (long ones cut short), both
//   dtypes, full and causal; one line of JSON each; exit code 1 where an error is larger than rounding
//   explains.
// bench_attention --do serve --threads N
//   a worker: {"shape": [B, H, T, D], "causal": false, "dtype": "float32", "seconds": at least so long}
//   -> {"forward": median seconds, "forward_backward": median seconds, "operations": of forward}
// bench_attention --do grid --threads N
//   checks, then prints each case's share of the ceiling that was measured beside it.
#include <algorithm>
#include <array>
#include <cstdlib>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>

#include "attention/case.h"
#include "attention/variants.h"
#include "support/ceiling.h"
#include "support/worker.h"

namespace headway::bench {
namespace {

constexpr std::array<std::array<std::int64_t, 4>, 8> kGrid{{{1, 12, 128, 64},
                                                            {8, 12, 128, 64},
                                                            {1, 12, 1024, 64},
                                                            {1, 12, 4096, 64},
                                                            {1, 16, 2048, 128},
                                                            {32, 8, 32, 32},
                                                            {64, 8, 20, 64},
                                                            {2, 32, 512, 80}}};

CaseOptions options_of(const std::array<std::int64_t, 4>& shape, bool causal, DType dtype) {
  return {.batch = shape[0],
          .heads = shape[1],
          .length = shape[2],
          .dim = shape[3],
          .causal = causal,
          .dtype = dtype};
}

// The oracle is slow: few heads, and 300 rows, no multiple of any block. Relative rounding of bfloat16 is
// 2^-9, met in the inputs of each product (P, dS) and in the result; float32 sums of some hundred terms stay
// below 1e-5.
bool check() {
  bool right = true;
  for (const auto& shape : kGrid) {
    for (const bool causal : {false, true}) {
      for (const DType dtype : {DType::float32, DType::bfloat16}) {
        CaseOptions o = options_of(shape, causal, dtype);
        o.masked = shape[0] == 1 && !causal;
        o.batch = std::min<std::int64_t>(o.batch, 2);
        o.heads = 2;
        o.length = std::min<std::int64_t>(o.length, 300);
        const double error = error_against_oracle(o);
        const double bound = dtype == DType::float32 ? 1e-5 : 4 * 0x1p-9;
        answer({{"checked", {o.batch, o.heads, o.length, o.dim}},
                {"causal", causal},
                {"dtype", name_of(dtype)},
                {"error", error},
                {"bound", bound}});
        right = right && error <= bound;
      }
    }
  }
  return right;
}

template <typename Body>
double median_seconds(double at_least, Body&& body) {
  body();
  std::vector<double> times;
  for (double total = 0; total < at_least || times.size() < 5; total += times.back()) {
    const double begin = now();
    body();
    times.push_back(now() - begin);
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

struct Times {
  double forward = 0, both = 0;
};

Times measure(const CaseOptions& options, double at_least) {
  Case work(options);
  Times times;
  times.forward = median_seconds(at_least, [&] { work.forward(); });
  times.both = median_seconds(at_least, [&] {
    work.forward();
    work.backward();
  });
  return times;
}

void grid(int thread_count) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const auto& shape : kGrid) {
      for (const bool causal : {false, true}) {
        const CaseOptions o = options_of(shape, causal, dtype);
        // Without bf16 products of its own a processor computes them in float32.
        const double bf16 = dtype == DType::bfloat16 ? bf16_ceiling(thread_count) : 0;
        const double ceiling = bf16 > 0 ? bf16 : fma_ceiling(thread_count);
        const Times times = measure(o, 0.5);
        const double work = forward_operations(o) / 1e9;
        fmt::print(
            "{:8} ({},{},{},{}){:8} forward {:6.1f} GFLOP/s {:3.0f} %   forward + backward {:6.1f} GFLOP/s "
            "{:3.0f} %\n",
            name_of(dtype), shape[0], shape[1], shape[2], shape[3], causal ? " causal" : "",
            work / times.forward, 100 * work / times.forward / ceiling, 3.5 * work / times.both,
            100 * 3.5 * work / times.both / ceiling);
      }
    }
  }
}

Json serve_one(const Json& request) {
  const auto shape = request.at("shape").get<std::array<std::int64_t, 4>>();
  const DType dtype = request.at("dtype") == "bfloat16" ? DType::bfloat16 : DType::float32;
  CaseOptions o = options_of(shape, request.at("causal").get<bool>(), dtype);
  o.masked = request.value("masked", false);
  const Times times = measure(o, request.value("seconds", 0.2));
  return {
      {"forward", times.forward}, {"forward_backward", times.both}, {"operations", forward_operations(o)}};
}

}  // namespace
}  // namespace headway::bench

int main(int argc, char** argv) {
  using namespace headway::bench;
  const Arguments arguments(argc, argv);
  const std::string what = arguments.text("do");
  const auto threads = static_cast<int>(arguments.number("threads", 1));
  return guarded([&] {
    headway::set_threads(threads);
    if (what == "serve") std::exit(serve(serve_one));
    if (!check())
      headway::fail(headway::ErrorCode::internal, "bench_attention",
                    "an error is larger than rounding explains");
    if (what == "grid") grid(threads);
    if (what == "variants")
      print_variants(arguments.number("length", 2048), static_cast<int>(arguments.number("rounds", 7)));
  });
}
