#pragma once
#include <vector>

#include <nanobind/nanobind.h>

#include <headway/nn/module.h>

namespace headway::python {

/// The parameters of a module, or of a dict of name to Tensor. Error(value) for anything else.
std::vector<nn::NamedParameter> parameters_of(nanobind::handle source);

}  // namespace headway::python
