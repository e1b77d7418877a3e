#include <headway/io/safetensors.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/model_files.h>

#include "io/safetensors_header.h"
#include "io/safetensors_write.h"

namespace headway::inline v1::io {
namespace {

std::optional<DType> dtype_of_stored(StoredType type) {
  switch (type) {
    case StoredType::f64:
      return DType::float64;
    case StoredType::f32:
      return DType::float32;
    case StoredType::bf16:
      return DType::bfloat16;
    case StoredType::f16:
      return DType::float16;
    case StoredType::i64:
      return DType::int64;
    case StoredType::i32:
      return DType::int32;
    case StoredType::boolean:
      return DType::boolean;
    default:
      return std::nullopt;
  }
}

}  // namespace

SafeTensors load_safetensors(const std::filesystem::path& path) {
  const MappedFile file(path);
  SafeTensorsHeader header = read_safetensors_header(file, "load_safetensors");
  const auto refuse = [&](std::string_view name, std::string_view what) {
    fail(ErrorCode::format, "load_safetensors",
         fmt::format("{}: tensor \"{}\" {}", path.string(), printable(name), what));
  };
  SafeTensors result;
  result.metadata = std::move(header.metadata);
  for (const HeaderEntry& entry : header.entries) {
    if (!dtype_of_stored(entry.type->type)) {
      refuse(entry.name,
             fmt::format("has dtype \"{}\"; want F64, F32, BF16, F16, I64, I32 or BOOL", entry.type->name));
    }
  }
  for (const HeaderEntry& entry : header.entries) {
    Tensor tensor = Tensor::empty(entry.shape, *dtype_of_stored(entry.type->type));
    const auto bytes = file.bytes(header.data + entry.begin, entry.end - entry.begin);
    if (!bytes.empty()) std::memcpy(tensor.raw(), bytes.data(), bytes.size());
    file.drop(header.data + entry.begin, bytes.size());
    if (tensor.dtype() == DType::boolean && !bytes.empty()) {
      const auto* values = static_cast<const unsigned char*>(tensor.raw());
      if (std::any_of(values, values + bytes.size(), [](unsigned char b) { return b > 1; })) {
        refuse(entry.name, "holds a boolean that is neither 0 nor 1");
      }
    }
    result.tensors.push_back({entry.name, std::move(tensor)});
  }
  return result;
}

void save_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<OutputTensor> outputs;
  std::vector<const OutputTensor*> chosen;
  outputs.reserve(tensors.size());
  for (const NamedTensor& entry : tensors) {
    outputs.push_back(
        {entry.name, entry.tensor, entry.tensor.defined() ? entry.tensor.dtype() : DType::float32});
    chosen.push_back(&outputs.back());
  }
  write_safetensors(path, chosen, metadata, "save_safetensors");
}

StoredTensors open_safetensors(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  SafeTensorsHeader header = read_safetensors_header(*file, "open_safetensors");
  StoredTensors result;
  result.metadata = std::move(header.metadata);
  for (HeaderEntry& entry : header.entries) {
    result.tensors.push_back({std::move(entry.name), entry.type->type, entry.shape, file,
                              header.data + entry.begin, entry.end - entry.begin});
  }
  result.make_index();
  return result;
}

}  // namespace headway::inline v1::io
