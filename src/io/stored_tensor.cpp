#include <headway/io/stored_tensor.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include <headway/core/parallel.h>
#include <headway/core/quote.h>

#include "io/convert.h"
#include "io/stored_type.h"

namespace headway::inline v1::io {
namespace {

constexpr std::int64_t kGrain = 1 << 15;  // elements of one unit of work: a multiple of every block
constexpr std::int64_t kPiece = 1 << 10;  // of those, what is held as float32 on the way to another type

[[noreturn]] void refuse(const StoredTensor& stored, std::string_view want) {
  fail(ErrorCode::unsupported, "read_tensor",
       fmt::format("{}: tensor \"{}\" is stored as {}, which is not read as {}", stored.file->path().string(),
                   printable(stored.name), name_of(stored.type), want));
}

bool same_type(StoredType type, DType dtype) {
  switch (dtype) {
    case DType::float64:
      return type == StoredType::f64;
    case DType::float32:
      return type == StoredType::f32;
    case DType::bfloat16:
      return type == StoredType::bf16;
    case DType::float16:
      return type == StoredType::f16;
    case DType::int64:
      return type == StoredType::i64;
    case DType::int32:
      return type == StoredType::i32;
    case DType::boolean:
      return type == StoredType::boolean;
  }
  return false;
}

// Writes count elements from `in`, through float32, at index `at` of `out`.
void convert(StoredType type, const std::byte* in, std::int64_t count, DType dtype, void* out,
             std::int64_t at) {
  if (dtype == DType::float32) return decode(type, in, count, static_cast<float*>(out) + at);
  const StoredTypeInfo& info = info_of(type);
  std::array<float, kPiece> piece;
  for (std::int64_t begin = 0; begin < count; begin += kPiece) {
    const std::int64_t n = std::min(kPiece, count - begin);
    decode(type, in + begin / info.block * info.block_bytes, n, piece.data());
    const std::int64_t to = at + begin;
    if (dtype == DType::float64) {
      std::copy_n(piece.data(), n, static_cast<double*>(out) + to);
    } else {
      auto* words = static_cast<std::uint16_t*>(out) + to;
      const auto narrow = dtype == DType::bfloat16 ? float_to_bfloat : float_to_half;
      std::transform(piece.data(), piece.data() + n, words, narrow);
    }
  }
}

// Elements [begin, end) of the tensor, whole blocks, to the beginning of `out`.
void read_range(const StoredTensor& stored, std::int64_t begin, std::int64_t end, DType dtype, void* out) {
  const StoredTypeInfo& info = info_of(stored.type);
  const auto offset = [&](std::int64_t element) {
    return static_cast<std::uint64_t>(element) / info.block * info.block_bytes;
  };
  const auto bytes = stored.file->bytes(stored.begin + offset(begin), offset(end) - offset(begin));
  core::parallel_ranges(end - begin, kGrain, [&](std::int64_t from, std::int64_t to) {
    const std::byte* in = bytes.data() + offset(from);
    if (same_type(stored.type, dtype)) {
      std::memcpy(static_cast<char*>(out) + offset(from), in, offset(to) - offset(from));
    } else {
      convert(stored.type, in, to - from, dtype, out, from);
    }
  });
}

void check_booleans(const StoredTensor& stored, const void* data) {
  const auto* values = static_cast<const unsigned char*>(data);
  if (std::any_of(values, values + stored.bytes, [](unsigned char b) { return b > 1; })) {
    fail(ErrorCode::format, "read_tensor",
         fmt::format("{}: tensor \"{}\" holds a boolean that is neither 0 nor 1",
                     stored.file->path().string(), printable(stored.name)));
  }
}

}  // namespace

const StoredTensor* StoredTensors::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors[found->second];
}

const StoredTensor& StoredTensors::at(std::string_view name) const {
  if (const StoredTensor* found = find(name)) return *found;
  fail(ErrorCode::format, "read_tensor", fmt::format("there is no tensor \"{}\"", printable(name)));
}

void StoredTensors::make_index() {
  index_.clear();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto [place, is_new] = index_.emplace(tensors[i].name, i);
    if (is_new) continue;
    const auto& first = *tensors[place->second].file;
    fail(ErrorCode::format, "read_tensor",
         fmt::format("tensor \"{}\" is in {} and again in {}", printable(tensors[i].name),
                     first.path().string(), tensors[i].file->path().string()));
  }
}

Tensor as_float32(const StoredTensor& stored) { return as(stored, DType::float32); }

Tensor as(const StoredTensor& stored, DType dtype) {
  if (!same_type(stored.type, dtype) && !(reads_as_float(stored.type) && is_floating(dtype))) {
    refuse(stored, name_of(dtype));
  }
  return Tensor::on_demand(stored.shape, dtype, [stored, dtype](void* out) {
    read_range(stored, 0, stored.shape.numel(), dtype, out);
    if (dtype == DType::boolean) check_booleans(stored, out);
    stored.file->drop(stored.begin, stored.bytes);
  });
}

void read_rows(const StoredTensor& stored, std::int64_t first, std::int64_t count, float* out) {
  if (!reads_as_float(stored.type)) refuse(stored, "float32");
  const std::int64_t width = stored.shape.empty() ? 1 : stored.shape.back();
  const std::int64_t rows = width == 0 ? 0 : stored.shape.numel() / width;
  if (first < 0 || count < 0 || first > rows || count > rows - first) {
    fail(ErrorCode::value, "read_rows",
         fmt::format("rows {} to {} of tensor \"{}\", which has {}", first, first + count,
                     printable(stored.name), rows));
  }
  read_range(stored, first * width, (first + count) * width, DType::float32, out);
}

}  // namespace headway::inline v1::io
