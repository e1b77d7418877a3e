#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headway::test {

/// Puts a GGUF file together piece by piece, right or wrong.
class GgufBuilder {
 public:
  template <typename T>
  GgufBuilder& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  GgufBuilder& text(std::string_view text) { return put<std::uint64_t>(text.size()).raw(text); }
  GgufBuilder& head(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    return raw("GGUF").put<std::uint32_t>(version).put<std::uint64_t>(tensors).put<std::uint64_t>(keys);
  }
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                      std::uint64_t offset) {
    text(name).put<std::uint32_t>(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) put(dim);
    return put<std::uint32_t>(type).put<std::uint64_t>(offset);
  }
  GgufBuilder& pad(std::size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  const std::string& str() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace headway::test
