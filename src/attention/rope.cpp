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
  return dims == 0 ? dim : dims;
}

double RopeOptions::rate(std::int64_t pair, std::int64_t rotated) const {
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
