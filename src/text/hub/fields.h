#pragma once
#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace headway::inline v1::text::hub {

using Json = nlohmann::json;

/// Error(format): "operation: <where>: <message>".
[[noreturn]] void fail_format(const std::string& where, std::string_view message);
/// Error(unsupported) likewise.
[[noreturn]] void fail_unsupported(const std::string& where, std::string_view message);

/// Parses; Error(format) naming `where`. Depth is bounded, so that no text exhausts the stack.
Json parse_json(std::string_view text, const std::string& where);

/// An object of tokenizer.json, read field by field. A field that nobody asked for is an Error(unsupported)
/// in done(): what is not understood is never ignored.
class Fields {
 public:
  Fields(const Json& object, std::string where);

  const std::string& where() const { return where_; }
  std::string where(std::string_view name) const { return where_ + "." + std::string(name); }
  bool has(std::string_view name);          // present and not null
  const Json& at(std::string_view name);    // Error(format) where missing
  const Json* find(std::string_view name);  // nullptr where missing or null
  std::string string(std::string_view name);
  std::string string(std::string_view name, std::string_view otherwise);
  std::optional<std::string> maybe_string(std::string_view name);
  bool boolean(std::string_view name);
  bool boolean(std::string_view name, bool otherwise);
  std::int64_t integer(std::string_view name, std::int64_t least, std::int64_t most);
  /// A string that is one code point.
  char32_t character(std::string_view name, char32_t otherwise);
  void ignore(std::string_view name) { asked_.emplace(name); }
  void done() const;

 private:
  const Json* object_;
  std::string where_;
  std::set<std::string, std::less<>> asked_;
};

inline constexpr std::int64_t kMaxId = 0x7FFFFFFF;
/// An integer of [least, most]; Error(format) otherwise.
std::int64_t integer_of(const Json& value, const std::string& where, std::int64_t least = 0,
                        std::int64_t most = kMaxId);
const std::string& string_of(const Json& value, const std::string& where);
const Json& array_of(const Json& value, const std::string& where);

}  // namespace headway::inline v1::text::hub
