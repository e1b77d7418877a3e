#include "text/hub/fields.h"

#include <fmt/format.h>

#include <utility>

#include <headway/core/error.h>
#include <headway/core/quote.h>

#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

constexpr std::string_view kOperation = "HubTokenizer";
constexpr int kMaxDepth = 64;

std::string shown(const Json& value) {
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

}  // namespace

void fail_format(const std::string& where, std::string_view message) {
  fail(ErrorCode::format, kOperation, fmt::format("{}: {}", where, message));
}

void fail_unsupported(const std::string& where, std::string_view message) {
  fail(ErrorCode::unsupported, kOperation, fmt::format("{}: {}", where, message));
}

Json parse_json(std::string_view text, const std::string& where) {
  const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) fail_format(where, fmt::format("nested deeper than {} levels", kMaxDepth));
    return true;
  };
  try {
    return Json::parse(text, bounded);
  } catch (const Json::exception& e) {
    fail_format(where, fmt::format("is not valid JSON ({}); want what `tokenizers` writes", e.what()));
  }
}

Fields::Fields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) fail_format(where_, fmt::format("is {}; want an object", shown(object)));
}

const Json* Fields::find(std::string_view name) {
  ignore(name);
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool Fields::has(std::string_view name) { return find(name) != nullptr; }

const Json& Fields::at(std::string_view name) {
  const Json* found = find(name);
  if (found == nullptr) fail_format(where_, fmt::format("has no field '{}'", name));
  return *found;
}

std::string Fields::string(std::string_view name) { return string_of(at(name), where(name)); }

std::string Fields::string(std::string_view name, std::string_view otherwise) {
  const Json* found = find(name);
  return found == nullptr ? std::string(otherwise) : string_of(*found, where(name));
}

std::optional<std::string> Fields::maybe_string(std::string_view name) {
  const Json* found = find(name);
  if (found == nullptr) return std::nullopt;
  return string_of(*found, where(name));
}

bool Fields::boolean(std::string_view name) {
  const Json& value = at(name);
  if (!value.is_boolean()) fail_format(where(name), fmt::format("is {}; want true or false", shown(value)));
  return value.get<bool>();
}

bool Fields::boolean(std::string_view name, bool otherwise) { return has(name) ? boolean(name) : otherwise; }

std::int64_t Fields::integer(std::string_view name, std::int64_t least, std::int64_t most) {
  return integer_of(at(name), where(name), least, most);
}

char32_t Fields::character(std::string_view name, char32_t otherwise) {
  const Json* found = find(name);
  if (found == nullptr) return otherwise;
  const std::string& value = string_of(*found, where(name));
  if (count_code_points(value) != 1) {
    fail_format(where(name), fmt::format("is {}; want one character", shown(*found)));
  }
  std::size_t at = 0;
  return next_code_point(value, at);
}

void Fields::done() const {
  for (const auto& [name, value] : object_->items()) {
    if (asked_.find(name) == asked_.end()) {
      fail_unsupported(where_,
                       fmt::format("has a field '{}' ({}) that is not understood", name, shown(value)));
    }
  }
}

std::int64_t integer_of(const Json& value, const std::string& where, std::int64_t least, std::int64_t most) {
  const bool fits =
      value.is_number_integer() && !(value.is_number_unsigned() && value.get<std::uint64_t>() > (1ULL << 62));
  if (!fits || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
    fail_format(where, fmt::format("is {}; want an integer of {} to {}", shown(value), least, most));
  }
  return value.get<std::int64_t>();
}

const std::string& string_of(const Json& value, const std::string& where) {
  if (!value.is_string()) fail_format(where, fmt::format("is {}; want a string", shown(value)));
  return value.get_ref<const std::string&>();
}

const Json& array_of(const Json& value, const std::string& where) {
  if (!value.is_array()) fail_format(where, fmt::format("is {}; want an array", shown(value)));
  return value;
}

}  // namespace headway::inline v1::text::hub
