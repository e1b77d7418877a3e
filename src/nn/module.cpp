#include <headway/nn/module.h>

#include <headway/autograd/tape.h>

namespace headway::inline v1::nn {

Tensor Module::add_parameter(std::string name, const Tensor& value) {
  parameters_.push_back({std::move(name), require_grad(value)});
  return parameters_.back().tensor;
}

void Module::add_child(std::string name, Module& child) {
  child.set_generator(generator_);
  children_.emplace_back(std::move(name), &child);
}

void Module::set_generator(Generator* generator) {
  generator_ = generator;
  for (const auto& [name, child] : children_) child->set_generator(generator);
}

void Module::collect(const std::string& prefix, std::vector<NamedParameter>& out) const {
  for (const NamedParameter& parameter : parameters_)
    out.push_back({prefix + parameter.name, parameter.tensor});
  for (const auto& [name, child] : children_) child->collect(prefix + name + ".", out);
}

std::vector<NamedParameter> Module::parameters() const {
  std::vector<NamedParameter> out;
  collect("", out);
  return out;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const NamedParameter& parameter : parameters()) count += parameter.tensor.numel();
  return count;
}

void Module::zero_grad() const {
  for (const NamedParameter& parameter : parameters()) parameter.tensor.set_grad({});
}

}  // namespace headway::inline v1::nn
