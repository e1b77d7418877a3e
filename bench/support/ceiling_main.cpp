// bench_ceiling --threads N: a worker.
//   {"bytes": of keys, and as many of values} -> {"read": GB/s}
//   any other request -> {"float32": GFLOP/s, "bf16": GFLOP/s}
#include "support/ceiling.h"
#include "support/worker.h"

int main(int argc, char** argv) {
  using namespace headway::bench;
  const Arguments arguments(argc, argv);
  const auto threads = static_cast<int>(arguments.number("threads", 1));
  return serve([&](const Json& request) {
    if (request.contains("bytes")) return Json{{"read", read_ceiling(threads, request.at("bytes"))}};
    return Json{{"float32", fma_ceiling(threads)}, {"bf16", bf16_ceiling(threads)}};
  });
}
