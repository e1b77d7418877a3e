#include <headway/io/safetensors.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <set>

#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>

#include "io/json.h"

namespace headway::inline v1::io {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr std::string_view kMetadata = "__metadata__";

struct TypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array<TypeName, 7> kTypes{{{DType::float64, "F64"},
                                          {DType::int64, "I64"},
                                          {DType::float32, "F32"},
                                          {DType::int32, "I32"},
                                          {DType::bfloat16, "BF16"},
                                          {DType::float16, "F16"},
                                          {DType::boolean, "BOOL"}}};

std::string_view type_name(DType dtype) {
  return std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.dtype == dtype; })
      ->name;
}

struct Entry {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;
};

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path.string()), file_(path, std::ios::binary) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (!file_ || error) fail(ErrorCode::io, "load_safetensors", fmt::format("cannot open {}", path_));
    size_ = size;
  }

  SafeTensors load() {
    SafeTensors result;
    const std::vector<Entry> entries = read_header(result.metadata);
    for (const Entry& entry : entries) result.tensors.push_back({entry.name, read_tensor(entry)});
    return result;
  }

 private:
  [[noreturn]] void refuse(std::string_view message) const {
    fail(ErrorCode::format, "load_safetensors", fmt::format("{}: {}", path_, message));
  }
  [[noreturn]] void refuse(std::string_view name, std::string_view message) const {
    refuse(fmt::format("tensor {} {}", quoted(name), message));
  }

  void read(std::uint64_t at, void* out, std::uint64_t bytes) {
    file_.seekg(static_cast<std::streamoff>(at));
    file_.read(static_cast<char*>(out), static_cast<std::streamsize>(bytes));
    if (!file_ || static_cast<std::uint64_t>(file_.gcount()) != bytes) {
      fail(ErrorCode::io, "load_safetensors",
           fmt::format("{}: cannot read {} bytes at {}", path_, bytes, at));
    }
  }

  std::vector<Entry> read_header(std::map<std::string, std::string>& metadata) {
    if (size_ < 8) refuse(fmt::format("it has {} bytes; want at least the 8 of the header's length", size_));
    std::array<unsigned char, 8> prefix{};
    read(0, prefix.data(), prefix.size());
    std::uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | prefix[static_cast<std::size_t>(i)];
    if (length > kMaxHeader)
      refuse(fmt::format("its header has {} bytes; want at most {}", length, kMaxHeader));
    if (length > size_ - 8)
      refuse(fmt::format("its header has {} bytes, the file only {} more", length, size_ - 8));
    std::string text(length, '\0');
    read(8, text.data(), length);
    data_ = 8 + length;
    const Json header = parse_json(text, fmt::format("the header of {}", path_));
    if (!header.is_object()) refuse(fmt::format("its header is {}; want an object", header.type_name()));
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        read_metadata(value, metadata);
      } else {
        entries.push_back(read_entry(name, value));
      }
    }
    check_layout(entries);
    return entries;
  }

  void read_metadata(const Json& value, std::map<std::string, std::string>& metadata) const {
    if (!value.is_object()) refuse(fmt::format("__metadata__ is {}; want an object", value.type_name()));
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        refuse(fmt::format("__metadata__ has {} for {}; want a text", text.type_name(), quoted(key)));
      }
      metadata[key] = text.get<std::string>();
    }
  }

  Entry read_entry(const std::string& name, const Json& value) const {
    if (!value.is_object()) refuse(name, fmt::format("is {}; want an object", value.type_name()));
    for (const auto& [key, unused] : value.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        refuse(name, fmt::format("has the unknown key {}", quoted(key)));
      }
    }
    Entry entry;
    entry.name = name;
    entry.dtype = read_dtype(name, value);
    std::uint64_t bytes = size_of(entry.dtype);
    for (const std::uint64_t dim : read_list(name, value, "shape")) {
      if (entry.shape.rank() == Shape::max_rank) {
        refuse(name, fmt::format("has more than {} dimensions", Shape::max_rank));
      }
      if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        refuse(name, fmt::format("has a dimension of {}", dim));
      }
      entry.shape.push_back(static_cast<std::int64_t>(dim));
    }
    // Dimensions beside a 0 must not overflow either: strides are made of them.
    bool none = false;
    for (const std::int64_t dim : entry.shape) {
      none = none || dim == 0;
      if (dim > 0 && __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dim), &bytes)) {
        refuse(name, fmt::format("has shape {}, which overflows", entry.shape.str()));
      }
    }
    if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      refuse(name, fmt::format("has shape {}, which overflows", entry.shape.str()));
    }
    if (none) bytes = 0;
    const auto offsets = read_list(name, value, "data_offsets");
    if (offsets.size() != 2) refuse(name, fmt::format("has {} data_offsets; want 2", offsets.size()));
    entry.begin = offsets[0];
    entry.end = offsets[1];
    if (entry.begin > entry.end || entry.end > size_ - data_) {
      refuse(name, fmt::format("has data_offsets {} to {}, out of range: the file holds {} bytes of data",
                               entry.begin, entry.end, size_ - data_));
    }
    if (entry.end - entry.begin != bytes) {
      refuse(name, fmt::format("of shape {} and dtype {} has {} bytes; want {}", entry.shape.str(),
                               name_of(entry.dtype), entry.end - entry.begin, bytes));
    }
    return entry;
  }

  DType read_dtype(const std::string& name, const Json& value) const {
    const auto found = value.find("dtype");
    if (found == value.end() || !found->is_string()) refuse(name, "has no dtype");
    const auto& text = found->get_ref<const std::string&>();
    for (const TypeName& type : kTypes) {
      if (type.name == text) return type.dtype;
    }
    refuse(name, fmt::format("has dtype {}; want F64, F32, BF16, F16, I64, I32 or BOOL", quoted(text)));
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
  void check_layout(std::vector<Entry>& entries) const {
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::uint64_t next = 0;
    for (const Entry& entry : entries) {
      if (entry.begin < next)
        refuse(entry.name, fmt::format("overlaps another: it begins at {}, not {}", entry.begin, next));
      if (entry.begin > next)
        refuse(entry.name, fmt::format("begins at {}: a hole after {}", entry.begin, next));
      next = entry.end;
    }
    if (next != size_ - data_) {
      refuse(fmt::format("its tensors end at {}, its data at {}", next, size_ - data_));
    }
  }

  Tensor read_tensor(const Entry& entry) {
    Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
    if (entry.begin == entry.end) return tensor;
    const std::uint64_t bytes = entry.end - entry.begin;
    read(data_ + entry.begin, tensor.raw(), bytes);
    if (entry.dtype == DType::boolean) {
      const auto* values = static_cast<const unsigned char*>(tensor.raw());
      if (std::any_of(values, values + bytes, [](unsigned char b) { return b > 1; })) {
        refuse(entry.name, "holds a boolean that is neither 0 nor 1");
      }
    }
    return tensor;
  }

  std::string path_;
  std::ifstream file_;
  std::uint64_t size_ = 0;
  std::uint64_t data_ = 0;  // where the data begins
};

}  // namespace

SafeTensors load_safetensors(const std::filesystem::path& path) { return Reader(path).load(); }

void save_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  std::set<std::string_view> names{kMetadata};
  for (const NamedTensor& entry : tensors) {
    if (!names.insert(entry.name).second) {
      fail(ErrorCode::value, "save_safetensors",
           fmt::format("the name {} is given twice or reserved", quoted(entry.name)));
    }
    if (!entry.tensor.defined()) {
      fail(ErrorCode::value, "save_safetensors", fmt::format("tensor {} is undefined", quoted(entry.name)));
    }
    order.push_back(&entry);
  }
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return size_of(a->tensor.dtype()) > size_of(b->tensor.dtype());
  });
  // A plain map: appending to an ordered one searches it each time.
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  std::uint64_t next = 0;
  for (const NamedTensor* entry : order) {
    const Tensor& t = entry->tensor;
    const std::uint64_t bytes = static_cast<std::uint64_t>(t.numel()) * size_of(t.dtype());
    header[entry->name] = {{"dtype", type_name(t.dtype())},
                           {"shape", std::vector<std::int64_t>(t.shape().begin(), t.shape().end())},
                           {"data_offsets", {next, next + bytes}}};
    next += bytes;
  }
  std::string text = dump_json(header, -1);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  std::array<char, 8> prefix{};
  for (std::size_t i = 0; i < 8; ++i) prefix[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);

  AtomicFile file(path);
  file.write(prefix.data(), prefix.size());
  file.write(text);
  for (const NamedTensor* entry : order) {
    const Tensor& t = entry->tensor;
    if (t.numel() == 0) continue;
    if (t.is_contiguous()) {
      file.write(t.raw(), static_cast<std::size_t>(t.numel()) * size_of(t.dtype()));
      continue;
    }
    const auto write_all = [&]<typename T>() {
      const auto values = t.to_vector<T>();
      if constexpr (std::is_same_v<T, bool>) {
        const std::string bytes(values.begin(), values.end());
        file.write(bytes);
      } else {
        file.write(values.data(), values.size() * sizeof(T));
      }
    };
    switch (t.dtype()) {
      case DType::float32:
        write_all.operator()<float>();
        break;
      case DType::float64:
        write_all.operator()<double>();
        break;
      case DType::bfloat16:
        write_all.operator()<bfloat16>();
        break;
      case DType::float16:
        write_all.operator()<float16>();
        break;
      case DType::int32:
        write_all.operator()<std::int32_t>();
        break;
      case DType::int64:
        write_all.operator()<std::int64_t>();
        break;
      case DType::boolean:
        write_all.operator()<bool>();
        break;
    }
  }
  file.commit();
}

}  // namespace headway::inline v1::io
