#pragma once
#include <optional>
#include <string>
#include <vector>

#include <headway/train/optimizer.h>

namespace headway::inline v1::train {

/// Says how parameters are treated that one names.
struct GroupRule {
  /// Names, or patterns with * (any characters, dots too), ? and [abc], as a shell's: "encoder.*",
  /// "*.norm.weight".
  std::vector<std::string> names = {};
  double rate_factor = 1;                   ///< of the learning rate
  std::optional<double> weight_decay = {};  ///< of the matrices among them; none: the optimizer's
  std::optional<double> beta1 = {}, beta2 = {};
  bool frozen = false;
};

/// Groups for an optimizer: a parameter belongs to the first rule that names it, and otherwise to no rule,
/// with everything as the optimizer has it. Of a rule's parameters, and of the rest, matrices decay and
/// vectors do not, as in groups_by_rank(). Error(value) for a name or pattern that fits no parameter.
HEADWAY_API std::vector<ParameterGroup> make_groups(const std::vector<nn::NamedParameter>& parameters,
                                                    const std::vector<GroupRule>& rules);

}  // namespace headway::inline v1::train
