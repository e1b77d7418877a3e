// bench_attention --do check
//   compares the kernels with float64 loops on the grid's head sizes and lengths (long ones cut short), both
//   dtypes, full and causal, and a query against a cache; one line of JSON each; exit code 1 where an error
//   is larger than rounding explains.
// bench_attention --do serve --threads N
//   a worker: {"case": {...}, and one of
//     "save": folder                        writes inputs and results (see save_array()), float32
//     "memory": true                        -> {"bytes": most that forward and backward held at once}
//     "seconds": s of each measurement      -> {"forward": median seconds, "forward_backward": the same}}
//   A case is attention on the tape when it names a "variant" (see VariantOptions), else the kernels alone
//   (see CaseOptions); "forward_only": true leaves backward out.
// bench_attention --do grid --threads N
//   checks, then prints each case's share of the ceiling that was measured beside it.
// bench_attention --do variants --length T --rounds N --threads N
//   checks, then prints what masks, biases and positions cost.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <memory>

#include <fmt/format.h>

#include <headway/core/allocator.h>
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
          .kv_heads = shape[1],
          .queries = shape[2],
          .keys = shape[2],
          .dim = shape[3],
          .causal = causal,
          .dtype = dtype};
}

// Relative rounding of bfloat16 is 2^-9, met in the inputs of each product (P, dS) and in the result; float32
// sums of some hundred terms stay below 1e-5.
bool check_one(const CaseOptions& o) {
  const double error = error_against_oracle(o);
  const double bound = o.dtype == DType::float32 ? 1e-5 : 4 * 0x1p-9;
  answer({{"checked", {o.batch, o.heads, o.queries, o.keys, o.dim}},
          {"causal", o.causal},
          {"dtype", name_of(o.dtype)},
          {"error", error},
          {"bound", bound}});
  return error <= bound;
}

// The oracle is slow: few heads, and 300 rows, no multiple of any block.
bool check() {
  bool right = true;
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const auto& shape : kGrid) {
      for (const bool causal : {false, true}) {
        CaseOptions o = options_of(shape, causal, dtype);
        o.masked = shape[0] == 1 && !causal;
        o.batch = std::min<std::int64_t>(o.batch, 2);
        o.heads = o.kv_heads = 2;
        o.queries = o.keys = std::min<std::int64_t>(o.queries, 300);
        right = check_one(o) && right;
      }
    }
    right = check_one({.heads = 8, .kv_heads = 2, .keys = 700, .dim = 128, .dtype = dtype}) && right;
  }
  return right;
}

// A first run warms up; where it alone takes as long as was asked for, it is the measurement.
double median_seconds(double at_least, const std::function<void()>& body) {
  std::vector<double> times;
  const auto once = [&] {
    const double begin = now();
    body();
    return now() - begin;
  };
  const double first = once();
  if (first >= at_least) return first;
  for (double total = 0; total < at_least || times.size() < 5; total += times.back()) times.push_back(once());
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

struct Times {
  double forward = 0, both = 0;
};

template <typename Work>
Times measure(Work& work, double at_least) {
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
        Case problem(o);
        const Times times = measure(problem, 0.5);
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

CaseOptions case_of(const Json& json) {
  return {.batch = json.at("batch"),
          .heads = json.at("heads"),
          .kv_heads = json.at("kv_heads"),
          .queries = json.at("queries"),
          .keys = json.at("keys"),
          .dim = json.at("dim"),
          .causal = json.at("causal"),
          .dtype = json.at("dtype") == "bfloat16" ? DType::bfloat16 : DType::float32};
}

// Stays until another problem is asked for: to make arrays and to compile a mask is not what is timed.
class Server {
 public:
  Json operator()(const Json& request) {
    const Json& wanted = request.at("case");
    const bool variant = wanted.contains("variant");
    if (request.contains("save")) {
      forget();
      const std::string folder = request.at("save");
      if (variant) {
        variant_of(wanted).save(folder);
      } else {
        save(case_of(wanted), folder);
      }
      return {{"saved", folder}};
    }
    if (wanted != known_) {
      forget();
      if (variant) {
        variant_ = std::make_unique<VariantCase>(variant_of(wanted));
      } else {
        case_ = std::make_unique<Case>(case_of(wanted));
      }
      known_ = wanted;
    }
    if (request.contains("memory")) return {{"bytes", peak_bytes(*variant_)}};
    return time(wanted, request.at("seconds"));
  }

 private:
  static VariantCase variant_of(const Json& json) {
    return VariantCase({json.at("variant"), json.at("lengths"), json.at("heads"), json.at("dim")});
  }
  static void save(CaseOptions options, const std::string& folder) {
    options.dtype = DType::float32;
    Case work(options);
    work.forward();
    if (options.queries == options.keys) work.backward();
    work.save(folder);
  }
  void forget() {
    known_ = {};
    case_.reset();
    variant_.reset();
    release_cached_memory();
  }
  Json time(const Json& wanted, double seconds) {
    Json out;
    if (wanted.value("forward_only", false)) {
      out["forward"] = median_seconds(seconds, [&] { variant_ ? variant_->forward() : case_->forward(); });
    } else {
      const Times times = variant_ ? measure(*variant_, seconds) : measure(*case_, seconds);
      out["forward"] = times.forward;
      out["forward_backward"] = times.both;
    }
    if (variant_) {
      out["share"] = variant_->share();
    } else {
      out["operations"] = forward_operations(case_of(wanted));
      out["key_value_bytes"] = key_value_bytes(case_of(wanted));
    }
    return out;
  }

  Json known_;
  std::unique_ptr<Case> case_;
  std::unique_ptr<VariantCase> variant_;
};

}  // namespace
}  // namespace headway::bench

int main(int argc, char** argv) {
  using namespace headway::bench;
  const Arguments arguments(argc, argv);
  const std::string what = arguments.text("do");
  const auto threads = static_cast<int>(arguments.number("threads", 1));
  return guarded([&] {
    headway::set_threads(threads);
    if (what == "serve") {
      Server server;
      std::exit(serve([&](const Json& request) { return server(request); }));
    }
    if (!check())
      headway::fail(headway::ErrorCode::internal, "bench_attention",
                    "an error is larger than rounding explains");
    if (what == "grid") grid(threads);
    if (what == "variants")
      print_variants(arguments.number("length", 2048), static_cast<int>(arguments.number("rounds", 7)));
  });
}
