#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <headway/inspect/compare.h>

namespace headway::cli {

/// A small job for every way of having heads: the same two blocks, data and steps, differing in the attention
/// alone.
struct CompareJob {
  std::string data;  ///< a text file: predict its next byte; empty: the built-in task
  std::int64_t model_dim = 64, heads = 4, steps = 0;  ///< 0 steps: the job's own number
  int seeds = 3;
};

struct JobResult {
  inspect::Heads kind = inspect::Heads::combined;
  std::int64_t parameters = 0;
  std::vector<double> quality;     ///< one for each seed
  std::vector<double> divergence;  ///< of the heads' weights, mean over layers; see inspect::head_divergence
  double seconds = 0;              ///< of training, mean over seeds
};

struct JobReport {
  std::string task, quality_name;  ///< what was learned; what quality is
  std::int64_t steps = 0;
  std::vector<JobResult> results;
};

JobReport run_job(const CompareJob& job);

}  // namespace headway::cli
