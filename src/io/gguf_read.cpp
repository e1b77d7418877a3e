#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/gguf.h>

#include "io/stored_type.h"

namespace headway::inline v1::io {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied from the file as they are");

constexpr std::uint32_t kTypes = std::variant_size_v<GgufValue>;
constexpr int kMaxDepth = 8;               // of arrays in arrays
constexpr std::uint64_t kMaxName = 65535;  // of keys and tensors, as the specification has it for keys
constexpr std::uint32_t kMaxRank = 4;      // ggml's
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 30;

// Bytes of a type in the file; of strings and arrays the least.
constexpr std::array<std::uint64_t, kTypes> kLeast{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

class GgufReader {
 public:
  explicit GgufReader(const std::filesystem::path& path)
      : file_(std::make_shared<const MappedFile>(path)), bytes_(file_->bytes(0, file_->size())) {}

  GgufFile read() {
    GgufFile result;
    if (bytes_.size() < 24) refuse(fmt::format("it has {} bytes; want at least 24", bytes_.size()));
    if (std::memcmp(bytes_.data(), "GGUF", 4) != 0) refuse("it does not begin with GGUF");
    at_ = 4;
    result.version = number<std::uint32_t>("version");
    if (result.version != 2 && result.version != 3) {
      const bool swapped = (result.version & 0xffffu) == 0 && result.version != 0;
      fail(ErrorCode::unsupported, "open_gguf",
           fmt::format("{}: is {}; want version 2 or 3, little-endian", file_->path().string(),
                       swapped ? "big-endian" : fmt::format("version {}", result.version)));
    }
    const auto tensors = number<std::uint64_t>("number of tensors");
    const auto pairs = number<std::uint64_t>("number of keys");
    if (pairs > left() / 13) refuse(fmt::format("it has {} keys, but {} bytes left for them", pairs, left()));
    for (std::uint64_t i = 0; i < pairs; ++i) {
      std::string key = name("key");
      what_ = key;
      GgufValue read_value = value();
      if (!result.metadata.values.emplace(key, std::move(read_value)).second) refuse("is given twice");
      what_.clear();
    }
    read_alignment(result);
    // A name's length, one byte of it, the rank, the type and the offset.
    if (tensors > left() / 25)
      refuse(fmt::format("it has {} tensors, but {} bytes left for them", tensors, left()));
    for (std::uint64_t i = 0; i < tensors; ++i) result.tensors.tensors.push_back(tensor());
    place(result);
    result.tensors.make_index();
    return result;
  }

 private:
  [[noreturn]] void refuse(std::string_view message) const {
    fail(ErrorCode::format, "open_gguf",
         what_.empty() ? fmt::format("{}: {}", file_->path().string(), message)
                       : fmt::format("{}: \"{}\" {}", file_->path().string(), printable(what_), message));
  }

  std::uint64_t left() const { return bytes_.size() - at_; }

  const std::byte* take(std::uint64_t size, std::string_view what) {
    if (size > left())
      refuse(fmt::format("ends within its {}: {} bytes wanted, {} left", what, size, left()));
    const std::byte* from = bytes_.data() + at_;
    at_ += size;
    return from;
  }

  template <typename T>
  T number(std::string_view what) {
    T out;
    std::memcpy(&out, take(sizeof out, what), sizeof out);
    return out;
  }

  std::string string(std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    const auto* from = take(length, what);
    return {reinterpret_cast<const char*>(from), length};
  }

  std::string name(std::string_view what) {
    std::string out = string(what);
    if (out.empty() || out.size() > kMaxName) {
      refuse(fmt::format("a {} has {} bytes; want 1 to {}", what, out.size(), kMaxName));
    }
    if (out.find('\0') != std::string::npos)
      refuse(fmt::format("the {} \"{}\" has a NUL", what, printable(out)));
    return out;
  }

  bool boolean() {
    const auto byte = number<std::uint8_t>("value");
    if (byte > 1) refuse(fmt::format("holds the boolean {}; want 0 or 1", byte));
    return byte != 0;
  }

  std::uint32_t type() {
    const auto type = number<std::uint32_t>("type");
    if (type >= kTypes) refuse(fmt::format("has a value of type {}; want 0 to {}", type, kTypes - 1));
    return type;
  }

  template <typename T>
  T element(int depth) {
    if constexpr (std::is_same_v<T, std::string>) {
      return string("text");
    } else if constexpr (std::is_same_v<T, GgufArray>) {
      return array(depth + 1);
    } else if constexpr (std::is_same_v<T, bool>) {
      return boolean();
    } else {
      return number<T>("value");
    }
  }

  // Calls make.operator()<I>() with the type's number as a constant.
  template <std::size_t I = 0, typename Make>
  static void with_type(std::uint32_t type, Make&& make) {
    if constexpr (I < kTypes) {
      if (type == I) return make.template operator()<I>();
      with_type<I + 1>(type, make);
    }
  }

  GgufValue value() {
    GgufValue out;
    with_type(type(),
              [&]<std::size_t I>() { out.emplace<I>(element<std::variant_alternative_t<I, GgufValue>>(0)); });
    return out;
  }

  GgufArray array(int depth) {
    if (depth > kMaxDepth) refuse(fmt::format("has arrays nested more than {} deep", kMaxDepth));
    const std::uint32_t kind = type();
    const auto count = number<std::uint64_t>("length");
    if (count > left() / kLeast[kind]) {
      refuse(fmt::format("has an array of {} elements, but {} bytes left for them", count, left()));
    }
    GgufArray out;
    with_type(kind, [&]<std::size_t I>() {
      using T = std::variant_alternative_t<I, GgufValue>;
      auto& items = out.items.template emplace<I>();
      items.reserve(count);
      for (std::uint64_t i = 0; i < count; ++i) items.push_back(element<T>(depth));
    });
    return out;
  }

  void read_alignment(GgufFile& result) const {
    const auto found = result.metadata.values.find("general.alignment");
    if (found == result.metadata.values.end()) return;
    const auto* alignment = std::get_if<std::uint32_t>(&found->second);
    if (!alignment || !std::has_single_bit(*alignment) || *alignment > kMaxAlignment) {
      refuse("general.alignment is no power of two stored as uint32");
    }
    result.alignment = *alignment;
  }

  // One entry of the list; `begin` stays relative to the data.
  StoredTensor tensor() {
    StoredTensor out;
    out.name = name("tensor name");
    what_ = out.name;
    const auto rank = number<std::uint32_t>("rank");
    if (rank > kMaxRank) refuse(fmt::format("has {} dimensions; want at most {}", rank, kMaxRank));
    std::array<std::int64_t, kMaxRank> dims{};
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto dim = number<std::uint64_t>("shape");
      if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        refuse(fmt::format("has a dimension of {}", dim));
      }
      dims[i] = static_cast<std::int64_t>(dim);
    }
    for (std::uint32_t i = rank; i-- > 0;) out.shape.push_back(dims[i]);
    const auto code = number<std::uint32_t>("type");
    const StoredTypeInfo* info = find_ggml_type(code);
    if (!info) refuse(fmt::format("has elements of type {}, which is not known", code));
    out.type = info->type;
    const std::optional<std::uint64_t> bytes = stored_bytes(*info, out.shape);
    if (!bytes || (info->block > 1 && (out.shape.empty() || out.shape.back() % info->block != 0))) {
      refuse(fmt::format("of type {} has shape {}, which overflows or has rows that are no multiple of {}",
                         info->name, out.shape.str(), info->block));
    }
    out.bytes = *bytes;
    out.begin = number<std::uint64_t>("offset");
    out.file = file_;
    what_.clear();
    return out;
  }

  // The data begins at the next multiple of the alignment, and so does each tensor, one after the other.
  void place(GgufFile& result) {
    const auto padded = [&](std::uint64_t at) {
      return (at + result.alignment - 1) / result.alignment * result.alignment;
    };
    const std::uint64_t data = padded(at_);
    std::uint64_t next = 0;
    for (StoredTensor& tensor : result.tensors.tensors) {
      what_ = tensor.name;
      if (tensor.begin != next) refuse(fmt::format("begins at {} of the data; want {}", tensor.begin, next));
      if (data > bytes_.size() || tensor.bytes > bytes_.size() - data ||
          next > bytes_.size() - data - tensor.bytes) {
        refuse(fmt::format("has {} bytes at {} of the data, beyond the end of the file", tensor.bytes, next));
      }
      tensor.begin = data + next;
      next = padded(next + tensor.bytes);
    }
    what_.clear();
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::uint64_t at_ = 0;
  std::string what_;  // the key or tensor that is being read
};

}  // namespace

GgufFile open_gguf(const std::filesystem::path& path) { return GgufReader(path).read(); }

}  // namespace headway::inline v1::io
