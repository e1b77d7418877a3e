#include <headway/nn/positions.h>

#include <cmath>

#include <fmt/format.h>

#include <headway/nn/initial.h>

namespace headway::inline v1::nn {

Positions::Positions(const PositionOptions& options, Generator& generator) {
  if (options.max_length < 1 || options.width < 1) {
    fail(ErrorCode::shape, "Positions",
         fmt::format("sizes are {} positions of width {}; want at least 1 each", options.max_length,
                     options.width));
  }
  if (options.kind == PositionKind::learned) {
    table_ = add_parameter("weight", normal_rows(options.max_length, options.width, generator));
  } else {
    table_ = sinusoidal_positions(options.max_length, options.width, options.halves);
  }
}

Tensor sinusoidal_positions(std::int64_t length, std::int64_t width, bool halves) {
  Tensor table = Tensor::empty({length, width});
  auto* out = table.data<float>();
  for (std::int64_t column = 0; column < width; ++column) {
    const auto even = static_cast<double>(column - column % 2);
    const double rate = std::pow(10000.0, -even / static_cast<double>(width));
    const std::int64_t place = halves ? column / 2 + (column % 2 == 0 ? 0 : (width + 1) / 2) : column;
    for (std::int64_t p = 0; p < length; ++p) {
      const double angle = static_cast<double>(p) * rate;
      out[p * width + place] = static_cast<float>(column % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

Tensor position_ids(const std::vector<std::int64_t>& offsets) {
  Tensor ids = Tensor::empty({offsets.empty() ? 0 : offsets.back()}, DType::int32);
  auto* out = ids.data<std::int32_t>();
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    for (std::int64_t i = offsets[b]; i < offsets[b + 1]; ++i)
      out[i] = static_cast<std::int32_t>(i - offsets[b]);
  }
  return ids;
}

}  // namespace headway::inline v1::nn
