#include <headway/train/groups.h>

#include <fnmatch.h>

#include <algorithm>

#include <fmt/format.h>

namespace headway::inline v1::train {
namespace {

bool fits(const std::string& pattern, const std::string& name) {
  return pattern == name || ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

void check_names(const std::vector<nn::NamedParameter>& parameters, const std::vector<GroupRule>& rules) {
  for (const GroupRule& rule : rules) {
    for (const std::string& pattern : rule.names) {
      const bool found = std::any_of(parameters.begin(), parameters.end(),
                                     [&](const auto& parameter) { return fits(pattern, parameter.name); });
      if (found) continue;
      fail(ErrorCode::value, "make_groups",
           fmt::format("\"{}\" names no parameter; want names or patterns such as \"{}\"", pattern,
                       parameters.empty() ? "encoder.*" : parameters.front().name));
    }
  }
}

}  // namespace

std::vector<ParameterGroup> make_groups(const std::vector<nn::NamedParameter>& parameters,
                                        const std::vector<GroupRule>& rules) {
  check_names(parameters, rules);
  std::vector<std::vector<nn::NamedParameter>> of_rule(rules.size() + 1);  // the last: of none
  for (const nn::NamedParameter& parameter : parameters) {
    const auto rule = std::find_if(rules.begin(), rules.end(), [&](const GroupRule& r) {
      return std::any_of(r.names.begin(), r.names.end(),
                         [&](const std::string& pattern) { return fits(pattern, parameter.name); });
    });
    of_rule[static_cast<std::size_t>(rule - rules.begin())].push_back(parameter);
  }
  std::vector<ParameterGroup> groups;
  for (std::size_t i = 0; i < of_rule.size(); ++i) {
    for (ParameterGroup& group : groups_by_rank(of_rule[i])) {
      if (group.parameters.empty()) continue;
      if (i < rules.size()) {
        group.rate_factor = rules[i].rate_factor;
        group.weight_decay = rules[i].weight_decay;
        group.beta1 = rules[i].beta1;
        group.beta2 = rules[i].beta2;
        group.frozen = rules[i].frozen;
      }
      groups.push_back(std::move(group));
    }
  }
  return groups;
}

}  // namespace headway::inline v1::train
