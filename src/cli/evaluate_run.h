#pragma once
#include <cstdint>
#include <string>

namespace headway::cli {

/// `headway evaluate RUN --data CORPUS`: a trained translator on the corpus's test set.
struct RunEvaluation {
  std::string run, data;
  bool copy_baseline = false;  ///< beside it, what copying the nearest training sentence's translation scores
  int examples = 0;            ///< outputs to show: best, median, worst
  int bootstrap = 1000;        ///< resamples for the interval
  std::uint64_t seed = 12345;
  std::int64_t beam = 0;  ///< 0: the run's
  bool json = false;
};
void evaluate_run(const RunEvaluation& options);

}  // namespace headway::cli
