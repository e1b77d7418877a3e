#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include <headway/io/safetensors.h>
#include <headway/nn/module.h>

namespace headway::inline v1::train {

/// Parameters that are treated alike.
struct ParameterGroup {
  std::vector<nn::NamedParameter> parameters = {};
  double rate_factor = 1;  ///< of the learning rate
  bool decay = true;       ///< weight decay applies (customary: to matrices, not to biases and norms)
  /// Left as they are, whatever their gradient; a Trainer has it not computed. Averages are made for them
  /// when they are no longer frozen.
  bool frozen = false;
  std::optional<double> weight_decay = {}, beta1 = {}, beta2 = {};  ///< instead of AdamOptions'
};

/// All parameters in two groups: matrices, which decay, and vectors, which do not.
HEADWAY_API std::vector<ParameterGroup> groups_by_rank(const std::vector<nn::NamedParameter>& parameters);

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.98, eps = 1e-9;  ///< as in Vaswani 2017, section 5.3
  double weight_decay = 0;
  /// Decoupled: AdamW (Loshchilov & Hutter 2019), the weight shrinks by rate·weight_decay. Else Adam with an
  /// L2 penalty: weight_decay·w joins the gradient.
  bool decoupled = true;
  double clip_norm = 0;  ///< the gradient of all parameters together is scaled down to this length; 0: never
};

struct StepResult {
  double gradient_norm = 0;  ///< after the divisor, before clipping; of the parameters that are updated
  bool applied = true;       ///< false: the norm is not finite, and nothing was changed
};

/// Adam (Kingma & Ba 2015) and AdamW, for all parameters in one parallel pass. The blocks it is cut in depend
/// on the shapes alone, so the bits do not depend on the number of threads.
class HEADWAY_API Adam {
 public:
  /// A tensor that occurs twice (tied weights) is updated once. Error(dtype) unless float32 or float64.
  explicit Adam(std::vector<ParameterGroup> groups, const AdamOptions& options = {});
  explicit Adam(const std::vector<nn::NamedParameter>& parameters, const AdamOptions& options = {});

  /// One update from the gradients that are there, divided by `divisor` (sums over accumulated batches become
  /// means). Parameters without gradient are skipped: their averages and their step count stay.
  StepResult step(double rate, double divisor = 1);
  void zero_grad() const;

  /// "NAME.first", "NAME.second" (averages of gradient and squared gradient) and "NAME.steps" of each
  /// parameter.
  std::vector<io::NamedTensor> state() const;
  /// Error(format) beginning with `what` when names or shapes do not fit.
  void load_state(const std::vector<io::NamedTensor>& state, std::string_view what = "optimizer state");

  const AdamOptions& options() const { return options_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  /// Changes a group between steps.
  void set_frozen(std::size_t group, bool frozen);
  void set_rate_factor(std::size_t group, double factor);

 private:
  struct Slot {
    std::string name;
    Tensor parameter, first, second;
    Tensor steps;  // int64, rank 0; these three are undefined while the group was never but frozen
    std::size_t group = 0;
  };
  // Elements [begin, end) of a slot.
  struct Block {
    std::size_t slot = 0;
    std::int64_t begin = 0, end = 0;
  };
  struct Plan;
  Plan plan() const;
  static void make_averages(Slot& slot);

  std::vector<ParameterGroup> groups_;
  AdamOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace headway::inline v1::train
