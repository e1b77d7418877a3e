#pragma once
#include <headway/core/generator.h>
#include <headway/core/tensor.h>

/// How parameters start.
namespace headway::inline v1::nn {

/// [outputs, inputs], uniform in ±sqrt(6/(inputs + outputs)) (Glorot & Bengio 2010, eq. 16): the variance of
/// activations and of gradients stays about what it was.
HEADWAY_API Tensor xavier_uniform(std::int64_t outputs, std::int64_t inputs, Generator& generator);

/// [rows, width], normal with deviation width^-½: a row times sqrt(width) has unit variance, and so has its
/// dot product with a normalized activation.
HEADWAY_API Tensor normal_rows(std::int64_t rows, std::int64_t width, Generator& generator);

}  // namespace headway::inline v1::nn
