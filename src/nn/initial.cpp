#include <headway/nn/initial.h>

#include <cmath>

#include <headway/core/factory.h>

namespace headway::inline v1::nn {

Tensor xavier_uniform(std::int64_t outputs, std::int64_t inputs, Generator& generator) {
  const double bound = std::sqrt(6.0 / static_cast<double>(inputs + outputs));
  return uniform({outputs, inputs}, generator, -bound, bound);
}

Tensor normal_rows(std::int64_t rows, std::int64_t width, Generator& generator) {
  Tensor table = randn({rows, width}, generator);
  const auto deviation = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));
  auto* values = table.data<float>();
  for (std::int64_t i = 0; i < table.numel(); ++i) values[i] *= deviation;
  return table;
}

}  // namespace headway::inline v1::nn
