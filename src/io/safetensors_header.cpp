#include "io/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <headway/core/quote.h>

#include "io/json.h"

namespace headway::inline v1::io {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit

class HeaderReader {
 public:
  HeaderReader(const MappedFile& file, std::string_view operation)
      : file_(file), path_(file.path().string()), operation_(operation), size_(file.size()) {}

  SafeTensorsHeader read() {
    if (size_ < 8) refuse(fmt::format("it has {} bytes; want at least the 8 of the header's length", size_));
    std::uint64_t length = 0;
    const auto prefix = file_.bytes(0, 8);
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<std::uint64_t>(prefix[i]);
    if (length > kMaxHeader)
      refuse(fmt::format("its header has {} bytes; want at most {}", length, kMaxHeader));
    if (length > size_ - 8)
      refuse(fmt::format("its header has {} bytes, the file only {} more", length, size_ - 8));
    const auto text = file_.bytes(8, length);
    SafeTensorsHeader result;
    result.data = 8 + length;
    space_ = size_ - result.data;
    const Json header = parse_json({reinterpret_cast<const char*>(text.data()), text.size()},
                                   fmt::format("the header of {}", path_));
    if (!header.is_object()) refuse(fmt::format("its header is {}; want an object", header.type_name()));
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        read_metadata(value, result.metadata);
      } else {
        result.entries.push_back(read_entry(name, value));
      }
    }
    check_layout(result.entries);
    return result;
  }

 private:
  [[noreturn]] void refuse(std::string_view message) const {
    fail(ErrorCode::format, operation_, fmt::format("{}: {}", path_, message));
  }
  [[noreturn]] void refuse(std::string_view name, std::string_view message) const {
    refuse(fmt::format("tensor \"{}\" {}", printable(name), message));
  }

  void read_metadata(const Json& value, std::map<std::string, std::string>& metadata) const {
    if (!value.is_object()) refuse(fmt::format("__metadata__ is {}; want an object", value.type_name()));
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        refuse(fmt::format("__metadata__ has {} for \"{}\"; want a text", text.type_name(), printable(key)));
      }
      metadata[key] = text.get<std::string>();
    }
  }

  HeaderEntry read_entry(const std::string& name, const Json& value) const {
    // C programs would take the name for what stands before the NUL, and two tensors for one.
    if (name.find('\0') != std::string::npos) refuse(name, "has a NUL in its name");
    if (!value.is_object()) refuse(name, fmt::format("is {}; want an object", value.type_name()));
    for (const auto& [key, unused] : value.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        refuse(name, fmt::format("has the unknown key \"{}\"", printable(key)));
      }
    }
    HeaderEntry entry;
    entry.name = name;
    entry.type = read_type(name, value);
    for (const std::uint64_t dim : read_list(name, value, "shape")) {
      if (entry.shape.rank() == Shape::max_rank) {
        refuse(name, fmt::format("has more than {} dimensions", Shape::max_rank));
      }
      if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        refuse(name, fmt::format("has a dimension of {}", dim));
      }
      entry.shape.push_back(static_cast<std::int64_t>(dim));
    }
    const std::optional<std::uint64_t> bytes = stored_bytes(*entry.type, entry.shape);
    if (!bytes) {
      refuse(name, fmt::format("of dtype {} has shape {}, which overflows or is cut within a byte",
                               entry.type->name, entry.shape.str()));
    }
    const auto offsets = read_list(name, value, "data_offsets");
    if (offsets.size() != 2) refuse(name, fmt::format("has {} data_offsets; want 2", offsets.size()));
    entry.begin = offsets[0];
    entry.end = offsets[1];
    if (entry.begin > entry.end || entry.end > space_) {
      refuse(name, fmt::format("has data_offsets {} to {}, out of range: the file holds {} bytes of data",
                               entry.begin, entry.end, space_));
    }
    if (entry.end - entry.begin != *bytes) {
      refuse(name, fmt::format("of shape {} and dtype {} has {} bytes; want {}", entry.shape.str(),
                               entry.type->name, entry.end - entry.begin, *bytes));
    }
    return entry;
  }

  const StoredTypeInfo* read_type(const std::string& name, const Json& value) const {
    const auto found = value.find("dtype");
    if (found == value.end() || !found->is_string()) refuse(name, "has no dtype");
    const auto& text = found->get_ref<const std::string&>();
    if (const StoredTypeInfo* type = find_safetensors_type(text)) return type;
    refuse(name, fmt::format("has dtype \"{}\", which the format does not know", printable(text)));
  }

  std::vector<std::uint64_t> read_list(const std::string& name, const Json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_array()) refuse(name, fmt::format("has no list \"{}\"", key));
    std::vector<std::uint64_t> list;
    for (const Json& item : *found) {
      if (!item.is_number_unsigned()) {
        refuse(name, fmt::format("has {} in \"{}\"; want integers from 0 up", item.type_name(), key));
      }
      list.push_back(item.get<std::uint64_t>());
    }
    return list;
  }

  // The tensors must tile the data exactly, so that no byte is unaccounted for and none is two tensors'.
  void check_layout(std::vector<HeaderEntry>& entries) const {
    std::stable_sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::uint64_t next = 0;
    for (const HeaderEntry& entry : entries) {
      if (entry.begin < next)
        refuse(entry.name, fmt::format("overlaps another: it begins at {}, not {}", entry.begin, next));
      if (entry.begin > next)
        refuse(entry.name, fmt::format("begins at {}: a hole after {}", entry.begin, next));
      next = entry.end;
    }
    if (next != space_) refuse(fmt::format("its tensors end at {}, its data at {}", next, space_));
  }

  const MappedFile& file_;
  std::string path_;
  std::string_view operation_;
  std::uint64_t size_ = 0;
  std::uint64_t space_ = 0;  // bytes of data
};

}  // namespace

SafeTensorsHeader read_safetensors_header(const MappedFile& file, std::string_view operation) {
  return HeaderReader(file, operation).read();
}

}  // namespace headway::inline v1::io
