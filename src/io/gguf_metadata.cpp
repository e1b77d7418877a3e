#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/gguf.h>

namespace headway::inline v1::io {
namespace {

[[noreturn]] void refuse(std::string_view key, std::string_view what) {
  fail(ErrorCode::format, "read_gguf", fmt::format("the metadata \"{}\" {}", printable(key), what));
}

const GgufValue& value_of(const GgufMetadata& metadata, std::string_view key) {
  const auto found = metadata.values.find(key);
  if (found == metadata.values.end()) refuse(key, "is missing");
  return found->second;
}

template <typename T>
constexpr bool is_integer_v = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <typename T>
std::int64_t checked_integer(std::string_view key, T value) {
  if (!std::in_range<std::int64_t>(value)) refuse(key, fmt::format("is {}, which is out of range", value));
  return static_cast<std::int64_t>(value);
}

template <typename T>
const T& exactly(const GgufMetadata& metadata, std::string_view key, std::string_view kind) {
  if (const T* value = std::get_if<T>(&value_of(metadata, key))) return *value;
  refuse(key, fmt::format("is no {}", kind));
}

const GgufArray& array_of(const GgufMetadata& metadata, std::string_view key) {
  return exactly<GgufArray>(metadata, key, "array");
}

}  // namespace

std::size_t GgufArray::size() const {
  return std::visit([](const auto& list) { return list.size(); }, items);
}

std::int64_t GgufMetadata::integer(std::string_view key) const {
  return std::visit(
      [&](const auto& value) -> std::int64_t {
        if constexpr (is_integer_v<std::decay_t<decltype(value)>>) {
          return checked_integer(key, value);
        } else {
          refuse(key, "is no integer");
        }
      },
      value_of(*this, key));
}

double GgufMetadata::number(std::string_view key) const {
  return std::visit(
      [&](const auto& value) -> double {
        using T = std::decay_t<decltype(value)>;
        if constexpr (is_integer_v<T> || std::is_floating_point_v<T>) {
          return static_cast<double>(value);
        } else {
          refuse(key, "is no number");
        }
      },
      value_of(*this, key));
}

bool GgufMetadata::flag(std::string_view key) const { return exactly<bool>(*this, key, "boolean"); }

const std::string& GgufMetadata::text(std::string_view key) const {
  return exactly<std::string>(*this, key, "text");
}

const std::vector<std::string>& GgufMetadata::texts(std::string_view key) const {
  if (const auto* list = std::get_if<std::vector<std::string>>(&array_of(*this, key).items)) return *list;
  refuse(key, "is no array of texts");
}

std::vector<std::int64_t> GgufMetadata::integers(std::string_view key) const {
  std::vector<std::int64_t> out;
  std::visit(
      [&](const auto& list) {
        using T = typename std::decay_t<decltype(list)>::value_type;
        if constexpr (is_integer_v<T>) {
          out.reserve(list.size());
          for (const T value : list) out.push_back(checked_integer(key, value));
        } else {
          refuse(key, "is no array of integers");
        }
      },
      array_of(*this, key).items);
  return out;
}

std::vector<double> GgufMetadata::numbers(std::string_view key) const {
  std::vector<double> out;
  std::visit(
      [&](const auto& list) {
        using T = typename std::decay_t<decltype(list)>::value_type;
        if constexpr (is_integer_v<T> || std::is_floating_point_v<T>) {
          out.assign(list.begin(), list.end());
        } else {
          refuse(key, "is no array of numbers");
        }
      },
      array_of(*this, key).items);
  return out;
}

std::int64_t GgufMetadata::integer(std::string_view key, std::int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}
double GgufMetadata::number(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}
bool GgufMetadata::flag(std::string_view key, bool fallback) const { return has(key) ? flag(key) : fallback; }
std::string GgufMetadata::text(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : std::string(fallback);
}

}  // namespace headway::inline v1::io
