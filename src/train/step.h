#pragma once
#include <cstdint>
#include <vector>

#include <headway/train/gradients.h>
#include <headway/train/optimizer.h>
#include <headway/train/task.h>
#include <headway/train/trainer.h>

namespace headway::inline v1::train {

/// While it lives, the parameters that the optimizer does not update take no gradient, so that none is
/// computed for them.
class Freezing {
 public:
  Freezing(const std::vector<nn::NamedParameter>& parameters, const Adam& optimizer);
  ~Freezing();
  Freezing(const Freezing&) = delete;
  Freezing& operator=(const Freezing&) = delete;
  /// The others, each once, however many names it has.
  const std::vector<nn::NamedParameter>& trained() const { return trained_; }

 private:
  std::vector<nn::NamedParameter> trained_;
  std::vector<std::pair<Tensor, std::shared_ptr<core::GradientState>>> frozen_;
};

struct StepTotals {
  double loss = 0;    ///< mean over what counts; not a number where nothing does
  double weight = 0;  ///< of all micro-batches
  std::int64_t tokens = 0;
};

/// Draws a step's batches, computes losses and gradients, sums them, shows them to the hooks, and leaves them
/// on the parameters.
StepTotals compute_gradients(Task& task, const Adam& optimizer, std::int64_t step,
                             const TrainerOptions& options, const std::vector<GradientHook>& hooks);

}  // namespace headway::inline v1::train
