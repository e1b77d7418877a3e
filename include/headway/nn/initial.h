#pragma once
#include <headway/core/generator.h>
#include <headway/core/tensor.h>

/// How parameters start.
namespace headway::inline v1::nn {

/// While an object of this type lives, modules that this thread makes have parameters without elements
/// (Device::meta): weights that a file will bring are neither drawn nor given memory.
class HEADWAY_API DeferredWeights {
 public:
  DeferredWeights();
  ~DeferredWeights();
  DeferredWeights(const DeferredWeights&) = delete;
  DeferredWeights& operator=(const DeferredWeights&) = delete;
  /// True while one lives in this thread.
  static bool active();

 private:
  bool before_;
};

/// [outputs, inputs], uniform in ±sqrt(6/(inputs + outputs)) (Glorot & Bengio 2010, eq. 16): the variance of
/// activations and of gradients stays about what it was.
HEADWAY_API Tensor xavier_uniform(std::int64_t outputs, std::int64_t inputs, Generator& generator);
/// [rows, width], normal with deviation width^-½: a row times sqrt(width) has unit variance, and so has its
/// dot product with a normalized activation.
HEADWAY_API Tensor normal_rows(std::int64_t rows, std::int64_t width, Generator& generator);
/// float32 zeros and ones.
HEADWAY_API Tensor initial_zeros(const Shape& shape);
HEADWAY_API Tensor initial_ones(const Shape& shape);

}  // namespace headway::inline v1::nn
