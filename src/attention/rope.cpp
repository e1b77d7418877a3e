#include <cmath>

#include <fmt/format.h>

#include <headway/attention/position.h>
#include <headway/core/error.h>

namespace headway::inline v1 {

void RopeOptions::check(const char* operation) const {
  const auto positive = [&](const char* name, double value) {
    if (std::isfinite(value) && value > 0) return;
    fail(ErrorCode::value, operation, fmt::format("{} is {}; want a positive number", name, value));
  };
  positive("base", base);
  positive("scaling", scaling);
  positive("factor", factor);
  for (const double frequency : inverse_frequencies) {
    if (!std::isfinite(frequency) || frequency < 0) {
      fail(ErrorCode::value, operation,
           fmt::format("an inverse frequency is {}; want finite numbers of at least 0", frequency));
    }
  }
  if (dims < 0 || dims % 2 != 0) {
    fail(ErrorCode::value, operation,
         fmt::format("dims is {}; want an even number of columns (they turn in pairs), or 0 for all", dims));
  }
}

std::int64_t RopeOptions::rotated(const char* operation, std::int64_t dim) const {
  check(operation);
  if (dims > dim) {
    fail(ErrorCode::shape, operation,
         fmt::format("dims is {}, heads have dimension {}; want at most that", dims, dim));
  }
  if (dims == 0 && dim % 2 != 0) {
    fail(ErrorCode::shape, operation,
         fmt::format("heads have dimension {}, and columns turn in pairs; want an even one, or dims given",
                     dim));
  }
  const std::int64_t rotated = dims == 0 ? dim : dims;
  if (!inverse_frequencies.empty() && 2 * static_cast<std::int64_t>(inverse_frequencies.size()) != rotated) {
    fail(ErrorCode::shape, operation,
         fmt::format("{} inverse_frequencies for {} rotated columns; want {}", inverse_frequencies.size(),
                     rotated, rotated / 2));
  }
  return rotated;
}

double RopeOptions::rate(std::int64_t pair, std::int64_t rotated) const {
  if (!inverse_frequencies.empty()) return inverse_frequencies[static_cast<std::size_t>(pair)];
  return std::pow(base, -2 * static_cast<double>(pair) / static_cast<double>(rotated)) / scaling;
}

std::string RopeOptions::str() const {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  const RopeOptions usual;
  if (base != usual.base) add(fmt::format("base {}", base));
  if (dims != usual.dims) add(fmt::format("dims {}", dims));
  if (pairs == RopePairs::interleaved) add("interleaved");
  if (scaling != usual.scaling) add(fmt::format("scaling {}", scaling));
  if (!inverse_frequencies.empty()) add(fmt::format("{} frequencies of its own", inverse_frequencies.size()));
  if (factor != usual.factor) add(fmt::format("factor {}", factor));
  return text.empty() ? "rope" : fmt::format("rope({})", text);
}

Position Position::rope(const RopeOptions& options) {
  options.check("Position::rope");
  Position out;
  out.kind_ = Kind::rope;
  out.rope_ = options;
  return out;
}

}  // namespace headway::inline v1
