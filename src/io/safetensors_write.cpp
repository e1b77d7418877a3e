#include "io/safetensors_write.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <set>

#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>

#include "io/convert.h"
#include "io/json.h"
#include "io/safetensors_header.h"
#include "io/tensor_bytes.h"

namespace headway::inline v1::io {
namespace {

std::string_view type_name(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return "F64";
    case DType::float32:
      return "F32";
    case DType::bfloat16:
      return "BF16";
    case DType::float16:
      return "F16";
    case DType::int64:
      return "I64";
    case DType::int32:
      return "I32";
    case DType::boolean:
      return "BOOL";
  }
  return "";
}

void check(const std::vector<const OutputTensor*>& chosen, std::string_view operation) {
  std::set<std::string_view> names{kMetadata};
  for (const OutputTensor* entry : chosen) {
    const auto refuse = [&](ErrorCode code, std::string_view what) {
      fail(code, operation, fmt::format("tensor \"{}\" {}", printable(entry->name), what));
    };
    if (!names.insert(entry->name).second)
      refuse(ErrorCode::value, "has a name that is given twice or reserved");
    if (entry->name.find('\0') != std::string::npos) refuse(ErrorCode::value, "has a NUL in its name");
    if (!entry->tensor.defined()) refuse(ErrorCode::value, "is undefined");
    const DType own = entry->tensor.dtype();
    if (own != entry->dtype && !(is_floating(own) && is_floating(entry->dtype))) {
      refuse(ErrorCode::dtype,
             fmt::format("is {}; it cannot be written as {}", name_of(own), name_of(entry->dtype)));
    }
  }
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<const OutputTensor*>& chosen,
                       const std::map<std::string, std::string>& metadata, std::string_view operation) {
  check(chosen, operation);
  std::vector<const OutputTensor*> order = chosen;
  std::stable_sort(order.begin(), order.end(), [](const OutputTensor* a, const OutputTensor* b) {
    return size_of(a->dtype) > size_of(b->dtype);
  });
  // A plain map: appending to an ordered one searches it each time.
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  std::uint64_t next = 0;
  for (const OutputTensor* entry : order) {
    const Tensor& t = entry->tensor;
    const std::uint64_t bytes = static_cast<std::uint64_t>(t.numel()) * size_of(entry->dtype);
    header[entry->name] = {{"dtype", type_name(entry->dtype)},
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
  for (const OutputTensor* entry : order) {
    const TensorBytes bytes(entry->tensor);
    write_elements(file, bytes, entry->dtype);
  }
  file.commit();
}

}  // namespace headway::inline v1::io
