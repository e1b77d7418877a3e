#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/tensor.h>
#include <headway/io/mapped_file.h>

namespace headway::inline v1::io {

/// How a file stores elements: the types of safetensors, then those of GGUF (ggml). Not all can be read.
enum class StoredType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4,
  c64,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q8_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  q8_k,
  iq2_xxs,
  iq2_xs,
  iq3_xxs,
  iq1_s,
  iq4_nl,
  iq3_s,
  iq2_s,
  iq4_xs,
  iq1_m,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
  q1_0
};

/// As the files spell it: "BF16", "Q4_K", "F8_E4M3".
HEADWAY_API std::string_view name_of(StoredType type);
/// Elements that are stored together; a row holds a whole number of such blocks. 1 for plain types.
HEADWAY_API std::int64_t block_of(StoredType type);
/// True for what as_float32() reads: F64, F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K.
HEADWAY_API bool reads_as_float(StoredType type);

/// A tensor in a mapped file, not read yet: row-major, the last dimension contiguous.
struct StoredTensor {
  std::string name;
  StoredType type = StoredType::f32;
  Shape shape;
  std::shared_ptr<const MappedFile> file;
  std::uint64_t begin = 0;  ///< of its bytes in the file
  std::uint64_t bytes = 0;
};

/// The tensors of one file or of a model's shards, by name.
struct HEADWAY_API StoredTensors {
  std::vector<StoredTensor> tensors;  ///< in the order of files and of bytes in each
  std::map<std::string, std::string> metadata;
  /// nullptr when there is none of this name.
  const StoredTensor* find(std::string_view name) const;
  /// Error(format) when there is none of this name.
  const StoredTensor& at(std::string_view name) const;
  /// Call after `tensors` was filled. Error(format) for a name that is there twice.
  void make_index();

 private:
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// The elements as float32, made from the file when they are first read: dequantized, or converted from F64
/// (rounded), F32, F16, BF16. Error(unsupported) naming the tensor and its type for any other.
HEADWAY_API Tensor as_float32(const StoredTensor& stored);
/// The same in another floating type (through float32, rounded to nearest even; equal types keep their bits),
/// or BOOL, I32 and I64 as boolean, int32 and int64. Error(unsupported) for any other pair. A boolean that is
/// neither 0 nor 1 is an Error(format) when it is read.
HEADWAY_API Tensor as(const StoredTensor& stored, DType dtype);
/// Rows [first, first + count) as float32 to `out` (count times the last dimension). All dimensions but the
/// last count as rows; a scalar is one row of one. For tables too large to be unpacked at once. Nothing is
/// dropped from the mapping.
HEADWAY_API void read_rows(const StoredTensor& stored, std::int64_t first, std::int64_t count, float* out);

}  // namespace headway::inline v1::io
