#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>
#include <headway/io/gguf.h>

#include "io/convert.h"
#include "io/stored_type.h"
#include "io/tensor_bytes.h"

namespace headway::inline v1::io {
namespace {

constexpr std::size_t kMaxName = 63;  // ggml's GGML_MAX_NAME less its NUL
constexpr std::int64_t kBlock = 32, kBlockBytes = 34;
constexpr std::int64_t kChunk = 1 << 20;  // elements quantized at a time: whole blocks

[[noreturn]] void refuse(std::string_view message, ErrorCode code = ErrorCode::value) {
  fail(code, "save_gguf", message);
}

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put<std::uint64_t>(out, text.size());
  out += text;
}

void put_array(std::string& out, const GgufArray& array);

template <typename T>
void put_element(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    put_text(out, value);
  } else if constexpr (std::is_same_v<T, GgufArray>) {
    put_array(out, value);
  } else {
    put(out, value);
  }
}

void put_array(std::string& out, const GgufArray& array) {
  put<std::uint32_t>(out, static_cast<std::uint32_t>(array.items.index()));
  put<std::uint64_t>(out, array.size());
  std::visit(
      [&](const auto& list) {
        using T = typename std::decay_t<decltype(list)>::value_type;
        for (const T& value : list) put_element<T>(out, value);
      },
      array.items);
}

StoredType stored_type(GgufEncoding encoding) {
  switch (encoding) {
    case GgufEncoding::f16:
      return StoredType::f16;
    case GgufEncoding::bf16:
      return StoredType::bf16;
    case GgufEncoding::q8_0:
      return StoredType::q8_0;
    case GgufEncoding::f32:
      break;
  }
  return StoredType::f32;
}

void check_name(std::string_view kind, std::string_view name, std::size_t limit) {
  if (name.empty() || name.size() > limit || name.find('\0') != std::string_view::npos) {
    refuse(fmt::format("the {} \"{}\" has {} bytes; want 1 to {} without a NUL", kind, printable(name),
                       name.size(), limit));
  }
}

void check(const std::vector<GgufTensor>& tensors) {
  std::set<std::string_view> names;
  for (const GgufTensor& entry : tensors) {
    check_name("tensor name", entry.name, kMaxName);
    const auto wrong = [&](std::string_view what, ErrorCode code = ErrorCode::value) {
      refuse(fmt::format("tensor \"{}\" {}", printable(entry.name), what), code);
    };
    if (!names.insert(entry.name).second) wrong("is given twice");
    if (!entry.tensor.defined()) wrong("is undefined");
    if (!is_floating(entry.tensor.dtype())) {
      wrong(fmt::format("is {}; want a floating type", name_of(entry.tensor.dtype())), ErrorCode::dtype);
    }
    const Shape& shape = entry.tensor.shape();
    if (shape.rank() < 1 || shape.rank() > 4 || shape.numel() == 0) {
      wrong(fmt::format("has shape {}; want 1 to 4 dimensions, none of them 0", shape.str()));
    }
    if (entry.encoding == GgufEncoding::q8_0 && shape.back() % kBlock != 0) {
      wrong(fmt::format("has rows of {}; Q8_0 wants a multiple of {}", shape.back(), kBlock));
    }
  }
}

// ggml's reference: d = max|x| / 127 in float32, stored as float16; q = round(x / d) by the inverse of the
// float32 d, halves away from zero.
void quantize(const float* x, char* out) {
  float most = 0;
  for (int i = 0; i < kBlock; ++i) most = std::max(most, std::abs(x[i]));
  const float d = most / 127.0F;
  const float inverse = d != 0 ? 1.0F / d : 0.0F;
  const std::uint16_t half = float_to_half(d);
  std::copy_n(reinterpret_cast<const char*>(&half), sizeof half, out);
  for (int i = 0; i < kBlock; ++i) {
    const float q = std::round(x[i] * inverse);
    // Not a number, or beyond 127 where 1 / d overflowed: no int8 says it.
    if (!(std::abs(q) <= 127.0F)) refuse("a value that is not finite, or a block below 1e-36, has no Q8_0");
    out[2 + i] = static_cast<char>(static_cast<std::int8_t>(q));
  }
}

void write_quantized(AtomicFile& file, const TensorBytes& bytes) {
  std::vector<float> floats(static_cast<std::size_t>(std::min(kChunk, bytes.count())));
  std::vector<char> out(floats.size() / kBlock * kBlockBytes);
  for (std::int64_t begin = 0; begin < bytes.count(); begin += kChunk) {
    const std::int64_t n = std::min(kChunk, bytes.count() - begin);
    core::parallel_ranges(n, std::int64_t{1} << 15, [&](std::int64_t from, std::int64_t to) {
      bytes.floats(begin + from, begin + to, floats.data() + from);
      for (std::int64_t i = from; i < to; i += kBlock)
        quantize(floats.data() + i, out.data() + i / kBlock * kBlockBytes);
    });
    file.write(out.data(), static_cast<std::size_t>(n / kBlock * kBlockBytes));
  }
}

void write_tensor(AtomicFile& file, const GgufTensor& entry) {
  const TensorBytes bytes(entry.tensor);
  switch (entry.encoding) {
    case GgufEncoding::f32:
      return write_elements(file, bytes, DType::float32);
    case GgufEncoding::f16:
      return write_elements(file, bytes, DType::float16);
    case GgufEncoding::bf16:
      return write_elements(file, bytes, DType::bfloat16);
    case GgufEncoding::q8_0:
      return write_quantized(file, bytes);
  }
}

std::uint64_t alignment_of(const GgufMetadata& metadata) {
  const auto found = metadata.values.find("general.alignment");
  if (found == metadata.values.end()) return 32;
  const auto* alignment = std::get_if<std::uint32_t>(&found->second);
  if (!alignment || !std::has_single_bit(*alignment) || *alignment % 8 != 0 || *alignment > 1U << 20) {
    refuse("general.alignment is no uint32 that is a power of two from 8 to 2^20");
  }
  return *alignment;
}

}  // namespace

GgufEncoding gguf_encoding(std::string_view name) {
  constexpr std::pair<std::string_view, GgufEncoding> kAll[] = {{"f32", GgufEncoding::f32},
                                                                {"f16", GgufEncoding::f16},
                                                                {"bf16", GgufEncoding::bf16},
                                                                {"q8_0", GgufEncoding::q8_0}};
  for (const auto& [known, encoding] : kAll) {
    if (name == known) return encoding;
  }
  refuse(fmt::format("the weights' encoding is {}; want f32, f16, bf16 or q8_0", quoted(name)));
}

void save_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
               const std::vector<GgufTensor>& tensors) {
  check(tensors);
  const std::uint64_t alignment = alignment_of(metadata);
  std::string head = "GGUF";
  put<std::uint32_t>(head, 3);
  put<std::uint64_t>(head, tensors.size());
  put<std::uint64_t>(head, metadata.values.size());
  const auto put_pair = [&](const std::string& key, const GgufValue& value) {
    check_name("key", key, 65535);
    put_text(head, key);
    put<std::uint32_t>(head, static_cast<std::uint32_t>(value.index()));
    std::visit([&](const auto& item) { put_element<std::decay_t<decltype(item)>>(head, item); }, value);
  };
  // By custom the architecture is the first key, so that a reader knows early what it has before it.
  constexpr std::string_view kFirst = "general.architecture";
  if (const auto first = metadata.values.find(kFirst); first != metadata.values.end()) {
    put_pair(first->first, first->second);
  }
  for (const auto& [key, value] : metadata.values) {
    if (key != kFirst) put_pair(key, value);
  }
  const auto padding = [&](std::uint64_t size) { return (alignment - size % alignment) % alignment; };
  std::uint64_t offset = 0;
  std::vector<std::uint64_t> sizes;
  for (const GgufTensor& entry : tensors) {
    const StoredTypeInfo& info = info_of(stored_type(entry.encoding));
    const Shape& shape = entry.tensor.shape();
    put_text(head, entry.name);
    put<std::uint32_t>(head, static_cast<std::uint32_t>(shape.rank()));
    for (int i = shape.rank() - 1; i >= 0; --i)
      put<std::uint64_t>(head, static_cast<std::uint64_t>(shape[i]));
    put<std::uint32_t>(head, static_cast<std::uint32_t>(info.ggml));
    put<std::uint64_t>(head, offset);
    sizes.push_back(static_cast<std::uint64_t>(shape.numel()) / info.block * info.block_bytes);
    offset += sizes.back() + padding(sizes.back());
  }
  head.append(padding(head.size()), '\0');

  AtomicFile file(path);
  file.write(head);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    write_tensor(file, tensors[i]);
    file.write(std::string(padding(sizes[i]), '\0'));
  }
  file.commit();
}

}  // namespace headway::inline v1::io
