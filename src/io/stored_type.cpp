#include "io/stored_type.h"

#include <algorithm>
#include <array>
#include <limits>

namespace headway::inline v1::io {
namespace {

using enum StoredType;

constexpr auto kTypes = std::to_array<StoredTypeInfo>({
    {f64, "F64", 1, 8, 28, true},
    {f32, "F32", 1, 4, 0, true},
    {f16, "F16", 1, 2, 1, true},
    {bf16, "BF16", 1, 2, 30, true},
    {f8_e4m3, "F8_E4M3", 1, 1, kNoGgml, true},
    {f8_e5m2, "F8_E5M2", 1, 1, kNoGgml, true},
    {f8_e8m0, "F8_E8M0", 1, 1, kNoGgml, true},
    {f8_e4m3fnuz, "F8_E4M3FNUZ", 1, 1, kNoGgml, true},
    {f8_e5m2fnuz, "F8_E5M2FNUZ", 1, 1, kNoGgml, true},
    {f6_e2m3, "F6_E2M3", 4, 3, kNoGgml, true},
    {f6_e3m2, "F6_E3M2", 4, 3, kNoGgml, true},
    {f4, "F4", 2, 1, kNoGgml, true},
    {c64, "C64", 1, 8, kNoGgml, true},
    {i64, "I64", 1, 8, 27, true},
    {i32, "I32", 1, 4, 26, true},
    {i16, "I16", 1, 2, 25, true},
    {i8, "I8", 1, 1, 24, true},
    {u64, "U64", 1, 8, kNoGgml, true},
    {u32, "U32", 1, 4, kNoGgml, true},
    {u16, "U16", 1, 2, kNoGgml, true},
    {u8, "U8", 1, 1, kNoGgml, true},
    {boolean, "BOOL", 1, 1, kNoGgml, true},
    {q4_0, "Q4_0", 32, 18, 2, false},
    {q4_1, "Q4_1", 32, 20, 3, false},
    {q5_0, "Q5_0", 32, 22, 6, false},
    {q5_1, "Q5_1", 32, 24, 7, false},
    {q8_0, "Q8_0", 32, 34, 8, false},
    {q8_1, "Q8_1", 32, 40, 9, false},
    {q2_k, "Q2_K", 256, 84, 10, false},
    {q3_k, "Q3_K", 256, 110, 11, false},
    {q4_k, "Q4_K", 256, 144, 12, false},
    {q5_k, "Q5_K", 256, 176, 13, false},
    {q6_k, "Q6_K", 256, 210, 14, false},
    {q8_k, "Q8_K", 256, 292, 15, false},
    {iq2_xxs, "IQ2_XXS", 256, 66, 16, false},
    {iq2_xs, "IQ2_XS", 256, 74, 17, false},
    {iq3_xxs, "IQ3_XXS", 256, 98, 18, false},
    {iq1_s, "IQ1_S", 256, 50, 19, false},
    {iq4_nl, "IQ4_NL", 32, 18, 20, false},
    {iq3_s, "IQ3_S", 256, 110, 21, false},
    {iq2_s, "IQ2_S", 256, 82, 22, false},
    {iq4_xs, "IQ4_XS", 256, 136, 23, false},
    {iq1_m, "IQ1_M", 256, 56, 29, false},
    {tq1_0, "TQ1_0", 256, 54, 34, false},
    {tq2_0, "TQ2_0", 256, 66, 35, false},
    {mxfp4, "MXFP4", 32, 17, 39, false},
    {nvfp4, "NVFP4", 64, 36, 40, false},
    {q1_0, "Q1_0", 128, 18, 41, false},
});

template <typename Matches>
const StoredTypeInfo* first_that(Matches&& matches) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), matches);
  return found == kTypes.end() ? nullptr : &*found;
}

}  // namespace

const StoredTypeInfo& info_of(StoredType type) {
  return *first_that([&](const StoredTypeInfo& info) { return info.type == type; });
}

const StoredTypeInfo* find_safetensors_type(std::string_view name) {
  return first_that([&](const StoredTypeInfo& info) { return info.safetensors && info.name == name; });
}

const StoredTypeInfo* find_ggml_type(std::uint32_t number) {
  return first_that([&](const StoredTypeInfo& info) {
    return info.ggml >= 0 && static_cast<std::uint32_t>(info.ggml) == number;
  });
}

std::optional<std::uint64_t> stored_bytes(const StoredTypeInfo& info, const Shape& shape) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
  // safetensors packs small floats over the whole tensor, ggml within a row.
  std::uint64_t elements = 1;
  bool none = false;
  for (const std::int64_t dim : shape) {
    none = none || dim == 0;
    if (dim < 0 || (dim > 0 && __builtin_mul_overflow(elements, static_cast<std::uint64_t>(dim), &elements)))
      return {};
  }
  // Elements are read as float64 at most: eight bytes each must be countable too.
  if (elements > kMost / 8) return {};
  if (none) return 0;
  const std::uint64_t row =
      info.safetensors || shape.empty() ? elements : static_cast<std::uint64_t>(shape.back());
  if (row % info.block != 0) return {};
  return elements / info.block * info.block_bytes;
}

std::string_view name_of(StoredType type) { return info_of(type).name; }
std::int64_t block_of(StoredType type) { return info_of(type).block; }

}  // namespace headway::inline v1::io
