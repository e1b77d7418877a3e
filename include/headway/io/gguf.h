#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <headway/core/tensor.h>
#include <headway/io/stored_tensor.h>

/// GGUF, the file format of llama.cpp (specification: ggml's docs/gguf.md), versions 2 and 3, little-endian.
namespace headway::inline v1::io {

struct GgufArray;

/// A value of the metadata. The index of the alternative is the type's number in the file.
using GgufValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                 bool, std::string, GgufArray, std::uint64_t, std::int64_t, double>;

/// Elements of one type; the index of the alternative is that type's number. Strings are bytes, UTF-8 by
/// custom.
struct HEADWAY_API GgufArray {
  std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
               std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
               std::vector<float>, std::vector<bool>, std::vector<std::string>, std::vector<GgufArray>,
               std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>
      items;
  std::size_t size() const;
};

/// The key-value pairs of a file. Getters convert between integer types and between floating types, and check
/// the range: Error(format) for a value that is missing (where no fallback is given) or of another kind.
struct HEADWAY_API GgufMetadata {
  std::map<std::string, GgufValue, std::less<>> values;

  bool has(std::string_view key) const { return values.find(key) != values.end(); }
  std::int64_t integer(std::string_view key) const;
  std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  double number(std::string_view key) const;  ///< integers count as numbers
  double number(std::string_view key, double fallback) const;
  bool flag(std::string_view key) const;
  bool flag(std::string_view key, bool fallback) const;
  const std::string& text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  const std::vector<std::string>& texts(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
};

struct GgufFile {
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  GgufMetadata metadata;
  /// Shapes are row-major: GGUF's ne[0], the contiguous dimension, stands last.
  StoredTensors tensors;
};

/// Maps the file and reads all but the tensors' bytes. Error(format) for whatever is cut, out of range, given
/// twice, or not where the format wants it; Error(unsupported) for other versions and big-endian files.
/// Memory is at most some eight times what the metadata takes in the file. Quantized types that as_float32()
/// does not read are listed, and refused by name when asked for.
HEADWAY_API GgufFile open_gguf(const std::filesystem::path& path);

/// F32, F16, BF16, or Q8_0: blocks of 32 int8 with a float16 scale, rounded as ggml's reference does.
enum class GgufEncoding : std::uint8_t { f32, f16, bf16, q8_0 };

/// "f32", "f16", "bf16", "q8_0"; Error(value) for any other name.
HEADWAY_API GgufEncoding gguf_encoding(std::string_view name);

struct GgufTensor {
  std::string name;  ///< at most 63 bytes, as ggml allows
  Tensor tensor;     ///< floating, 1 to 4 dimensions, row-major
  GgufEncoding encoding = GgufEncoding::f32;
};

/// Writes version 3, atomically. `general.alignment` is taken from the metadata (32 without it). Error(value)
/// for names that are empty, too long, with a NUL or given twice, and for rows that are no multiple of 32 as
/// Q8_0; Error(dtype) for tensors that are not floating.
HEADWAY_API void save_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                           const std::vector<GgufTensor>& tensors);

}  // namespace headway::inline v1::io
