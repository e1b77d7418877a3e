#include "io/json.h"

#include <headway/io/atomic_file.h>

namespace headway::inline v1::io {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::uint64_t kMaxFile = std::uint64_t{1} << 26;

// What nlohmann says, without its own numbering and without the offending bytes, which may be no text at all.
std::string plain_message(const Json::parse_error& error) {
  return fmt::format("is not JSON: wrong or missing at byte {}", error.byte);
}

template <typename Value>
std::string dump(const Value& value, int indent) {
  try {
    return value.dump(indent);
  } catch (const nlohmann::detail::exception&) {
    fail(ErrorCode::value, "write_json", "a text is not valid UTF-8");
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what) {
  // The parser takes a NUL for the end of the text and would pass over what follows.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    fail(ErrorCode::format, "read_json", fmt::format("{} has a NUL at byte {}; want text", what, nul));
  }
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) {
      fail(ErrorCode::format, "read_json", fmt::format("{} is nested more than {} deep", what, kMaxDepth));
    }
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys.back().insert(value.get_ref<const std::string&>()).second) {
      fail(ErrorCode::format, "read_json",
           fmt::format("{} has the key {} twice", what, quoted(value.get_ref<const std::string&>())));
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::parse_error& error) {
    fail(ErrorCode::format, "read_json", fmt::format("{} {}", what, plain_message(error)));
  } catch (const Json::exception&) {  // a number beyond float64
    fail(ErrorCode::format, "read_json", fmt::format("{} holds a number that is out of range", what));
  }
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path, kMaxFile), path.string());
}

std::string dump_json(const OrderedJson& value, int indent) { return dump(value, indent); }
std::string dump_json(const Json& value, int indent) { return dump(value, indent); }

void write_json(const std::filesystem::path& path, const OrderedJson& value) {
  write_file(path, dump_json(value) + "\n");
}

}  // namespace headway::inline v1::io
