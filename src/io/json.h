#pragma once
// JSON for the layers above; private, since no third-party type stands in a public header.
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/core/export.h>
#include <headway/core/quote.h>

namespace headway::inline v1::io {

using Json = nlohmann::json;  // read: keys are found in logarithmic time, whatever a file holds
using OrderedJson = nlohmann::ordered_json;  // written: keys in the order people expect

/// Error(format) naming `what` for anything that is not one JSON value: broken syntax, invalid UTF-8, a key
/// given twice, nesting beyond 64.
HEADWAY_API Json parse_json(std::string_view text, std::string_view what);
HEADWAY_API Json read_json(const std::filesystem::path& path);
/// Error(value) for text that is not UTF-8. indent -1: one line.
HEADWAY_API std::string dump_json(const OrderedJson& value, int indent = 2);
HEADWAY_API std::string dump_json(const Json& value, int indent = 2);
HEADWAY_API void write_json(const std::filesystem::path& path, const OrderedJson& value);

/// Reads an object key by key with every type checked, and knows which keys nobody asked for.
class Fields {
 public:
  Fields(const Json& object, std::string what) : object_(object), what_(std::move(what)) {
    if (!object.is_object()) refuse(fmt::format("is {}; want an object", object.type_name()));
  }

  bool has(const char* key) const { return object_.contains(key); }
  /// The value of a key; Error(format) when it is missing.
  template <typename T>
  T get(const char* key) {
    asked_.insert(key);
    const auto found = object_.find(key);
    if (found == object_.end()) refuse(fmt::format("has no \"{}\"", key));
    return convert<T>(*found, key);
  }
  template <typename T>
  T get(const char* key, T fallback) {
    asked_.insert(key);
    return has(key) ? get<T>(key) : fallback;
  }
  const Json& child(const char* key) {
    asked_.insert(key);
    if (!has(key)) refuse(fmt::format("has no \"{}\"", key));
    return object_[key];
  }
  /// Reads format_version: 1 … newest are known.
  int version(int newest) {
    const int version = get<int>("format_version");
    if (version < 1 || version > newest) {
      refuse(fmt::format("has format_version {}; this version of Headway reads 1 to {}", version, newest));
    }
    return version;
  }
  /// Error(format) for keys that were not asked for: a misspelt option must not be ignored.
  void finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (!asked_.contains(key)) refuse(fmt::format("has the unknown key {}", quoted(key)));
    }
  }
  [[noreturn]] void refuse(const std::string& message) const {
    fail(ErrorCode::format, "read_json", fmt::format("{} {}", what_, message));
  }

 private:
  template <typename T>
  T convert(const Json& value, const char* key) const {
    const auto want = [&](bool right, const char* kind) {
      if (!right) refuse(fmt::format("has {} for \"{}\"; want {}", value.type_name(), key, kind));
    };
    if constexpr (std::is_same_v<T, bool>) {
      want(value.is_boolean(), "true or false");
      return value.get<bool>();
    } else if constexpr (std::is_integral_v<T>) {
      want(value.is_number_integer(), "an integer");
      const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                   : std::in_range<T>(value.get<std::int64_t>());
      if (!fits) refuse(fmt::format("has {} for \"{}\", which is out of range", value.dump(), key));
      return value.get<T>();
    } else if constexpr (std::is_floating_point_v<T>) {
      want(value.is_number(), "a number");
      return value.get<T>();
    } else if constexpr (std::is_same_v<T, std::string>) {
      want(value.is_string(), "a text");
      return value.get<std::string>();
    } else {
      want(value.is_array(), "a list");
      T list;
      for (const Json& item : value) list.push_back(convert<typename T::value_type>(item, key));
      return list;
    }
  }

  const Json& object_;
  std::string what_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace headway::inline v1::io
