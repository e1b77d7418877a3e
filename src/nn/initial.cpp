#include <headway/nn/initial.h>

#include <cmath>

#include <headway/core/factory.h>

namespace headway::inline v1::nn {
namespace {
thread_local bool deferred = false;

Device device_of_weights() { return deferred ? Device::meta : Device::cpu; }
}  // namespace

DeferredWeights::DeferredWeights() : before_(deferred) { deferred = true; }
DeferredWeights::~DeferredWeights() { deferred = before_; }
bool DeferredWeights::active() { return deferred; }

Tensor xavier_uniform(std::int64_t outputs, std::int64_t inputs, Generator& generator) {
  if (deferred) return Tensor::empty({outputs, inputs}, DType::float32, Device::meta);
  const double bound = std::sqrt(6.0 / static_cast<double>(inputs + outputs));
  return uniform({outputs, inputs}, generator, -bound, bound);
}

Tensor normal_rows(std::int64_t rows, std::int64_t width, Generator& generator) {
  if (deferred) return Tensor::empty({rows, width}, DType::float32, Device::meta);
  Tensor table = randn({rows, width}, generator);
  const auto deviation = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));
  auto* values = table.data<float>();
  for (std::int64_t i = 0; i < table.numel(); ++i) values[i] *= deviation;
  return table;
}

Tensor initial_zeros(const Shape& shape) { return zeros(shape, DType::float32, device_of_weights()); }
Tensor initial_ones(const Shape& shape) { return ones(shape, DType::float32, device_of_weights()); }

}  // namespace headway::inline v1::nn
