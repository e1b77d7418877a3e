#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include <headway/io/stored_tensor.h>

namespace headway::inline v1::io {

constexpr int kNoGgml = -1;

/// Sizes and numbers: safetensors 0.8 and ggml's type table (GGUF specification, ggml.h).
struct StoredTypeInfo {
  StoredType type;
  std::string_view name;
  std::uint32_t block;        // elements …
  std::uint32_t block_bytes;  // … in so many bytes
  int ggml;                   // its number in a GGUF file
  bool safetensors;           // true where safetensors has it
};

const StoredTypeInfo& info_of(StoredType type);
const StoredTypeInfo* find_safetensors_type(std::string_view name);
const StoredTypeInfo* find_ggml_type(std::uint32_t number);

/// Bytes of a tensor of this shape whose rows are whole blocks; nothing where they overflow 63 bits (also the
/// product of the dimensions beside a 0, since strides are made of it) or the last dimension is cut.
std::optional<std::uint64_t> stored_bytes(const StoredTypeInfo& info, const Shape& shape);

/// Reads `count` elements (whole blocks) as float32.
void decode(StoredType type, const std::byte* in, std::int64_t count, float* out);

}  // namespace headway::inline v1::io
