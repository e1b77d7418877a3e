// Blocks of ggml's quantized types as float32. Formats: ggml's ggml-common.h; d, m are float16, numbers
// little-endian. A product of a float16 and one or two small integers has at most 24 significant bits, so it
// is exact: each element is rounded at most once, by the addition of a minimum, in whatever order the
// compiler multiplies.
#include <cstring>

#include <fmt/format.h>

#include <headway/core/error.h>

#include "io/convert.h"
#include "io/stored_type.h"

namespace headway::inline v1::io {
namespace {

using Bytes = const std::uint8_t*;

template <typename T>
T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float half_at(Bytes block) { return half_to_float(load<std::uint16_t>(block)); }

// 32 elements of 4 bits: the low halves of 16 bytes, then the high halves.
// Q4_0: x = d (q - 8).   Q4_1: x = d q + m.
void q4_0_block(Bytes block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block[2 + i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

void q4_1_block(Bytes block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block[4 + i] & 15) + m;
    out[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
  }
}

// As Q4, with a fifth bit: that of element i is bit i of a word before the nibbles.
// Q5_0: x = d (q - 16).   Q5_1: x = d q + m.
void q5_0_block(Bytes block, float* out) {
  const float d = half_at(block);
  const auto high = load<std::uint32_t>(block + 2);
  for (int i = 0; i < 16; ++i) {
    const int low = (block[6 + i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int upper = (block[6 + i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = d * static_cast<float>(low - 16);
    out[i + 16] = d * static_cast<float>(upper - 16);
  }
}

void q5_1_block(Bytes block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  const auto high = load<std::uint32_t>(block + 4);
  for (int i = 0; i < 16; ++i) {
    const int low = (block[8 + i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int upper = (block[8 + i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = d * static_cast<float>(low) + m;
    out[i + 16] = d * static_cast<float>(upper) + m;
  }
}

// 32 int8: x = d q.
void q8_0_block(Bytes block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
}

// Scale and minimum of sub-block j of 8, six bits each, packed into 12 bytes: 0 to 3 in the low six bits of
// bytes j and j + 4; 4 to 7 in the halves of byte j + 4 and the two top bits of bytes j - 4 and j.
struct ScaleAndMinimum {
  int scale, minimum;
};
ScaleAndMinimum sub_block(Bytes packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4, (packed[j + 4] >> 4) | (packed[j] >> 6) << 4};
}

// 256 elements in 8 sub-blocks of 32: x = d s q - dmin m. Pairs of sub-blocks share 32 bytes, low halves
// first.
void q4_k_block(Bytes block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMinimum s = sub_block(block + 4, j);
    const float scale = d * static_cast<float>(s.scale), minimum = dmin * static_cast<float>(s.minimum);
    const Bytes q = block + 16 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) out[32 * j + i] = scale * static_cast<float>(q[i] >> shift & 15) - minimum;
  }
}

// As Q4_K; the fifth bit of element i of sub-block j is bit j of byte i of 32.
void q5_k_block(Bytes block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const Bytes high = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMinimum s = sub_block(block + 4, j);
    const float scale = d * static_cast<float>(s.scale), minimum = dmin * static_cast<float>(s.minimum);
    const Bytes q = block + 48 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) {
      const int value = (q[i] >> shift & 15) | (high[i] >> j & 1) << 4;
      out[32 * j + i] = scale * static_cast<float>(value) - minimum;
    }
  }
}

// 256 elements, x = d s (q - 32), an int8 scale for each 16. Of every 128: 64 bytes hold the low four bits of
// groups of 32 (0 and 1 in the low halves, 2 and 3 in the high ones), 32 bytes two high bits of each group.
void q6_k_block(Bytes block, float* out) {
  const Bytes low = block, high = block + 128, scales = block + 192;
  const float d = half_at(block + 208);
  for (int group = 0; group < 8; ++group) {
    const int half = group / 4, part = group % 4;
    const Bytes l = low + 64 * half + 32 * (part % 2), h = high + 32 * half;
    for (int i = 0; i < 32; ++i) {
      const int q = (l[i] >> (4 * (part / 2)) & 15) | (h[i] >> (2 * part) & 3) << 4;
      const auto scale = static_cast<std::int8_t>(scales[2 * group + i / 16]);
      out[32 * group + i] = d * static_cast<float>(scale) * static_cast<float>(q - 32);
    }
  }
}

template <void (*kBlock)(Bytes, float*)>
void blocks(StoredType type, Bytes in, std::int64_t count, float* out) {
  const StoredTypeInfo& info = info_of(type);
  for (std::int64_t i = 0; i < count; i += info.block, in += info.block_bytes) kBlock(in, out + i);
}

}  // namespace

bool reads_as_float(StoredType type) {
  switch (type) {
    using enum StoredType;
    case f64:
    case f32:
    case f16:
    case bf16:
    case q4_0:
    case q4_1:
    case q5_0:
    case q5_1:
    case q8_0:
    case q4_k:
    case q5_k:
    case q6_k:
      return true;
    default:
      return false;
  }
}

void decode(StoredType type, const std::byte* from, std::int64_t count, float* out) {
  const auto in = reinterpret_cast<Bytes>(from);
  switch (type) {
    using enum StoredType;
    case f64:
      for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(load<double>(in + 8 * i));
      return;
    case f32:
      std::memcpy(out, in, static_cast<std::size_t>(count) * 4);
      return;
    case f16:
      for (std::int64_t i = 0; i < count; ++i) out[i] = half_to_float(load<std::uint16_t>(in + 2 * i));
      return;
    case bf16:
      for (std::int64_t i = 0; i < count; ++i) out[i] = bfloat_to_float(load<std::uint16_t>(in + 2 * i));
      return;
    case q4_0:
      return blocks<q4_0_block>(type, in, count, out);
    case q4_1:
      return blocks<q4_1_block>(type, in, count, out);
    case q5_0:
      return blocks<q5_0_block>(type, in, count, out);
    case q5_1:
      return blocks<q5_1_block>(type, in, count, out);
    case q8_0:
      return blocks<q8_0_block>(type, in, count, out);
    case q4_k:
      return blocks<q4_k_block>(type, in, count, out);
    case q5_k:
      return blocks<q5_k_block>(type, in, count, out);
    case q6_k:
      return blocks<q6_k_block>(type, in, count, out);
    default:
      fail(ErrorCode::unsupported, "read_tensor",
           fmt::format("elements of type {} cannot be read", name_of(type)));
  }
}

}  // namespace headway::inline v1::io
