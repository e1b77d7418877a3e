// bench_ceiling --threads N: a worker; every request is answered by {"float32": GFLOP/s, "bf16": GFLOP/s}.
#include "support/ceiling.h"
#include "support/worker.h"

int main(int argc, char** argv) {
  using namespace headway::bench;
  const Arguments arguments(argc, argv);
  const auto threads = static_cast<int>(arguments.number("threads", 1));
  return serve([&](const Json&) {
    return Json{{"float32", fma_ceiling(threads)}, {"bf16", bf16_ceiling(threads)}};
  });
}
