#include "mask_recognition.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <headway/core/error.h>

namespace headway::python {
namespace {

// [B, H, T, S], dimensions of 1 where the array says the same of all.
using Sizes = std::array<std::int64_t, 4>;

std::optional<bool> seen_of(float value) {
  if (value == 0) return true;
  if (value == -std::numeric_limits<float>::infinity()) return false;
  return std::nullopt;
}
std::optional<bool> seen_of(double value) { return seen_of(static_cast<float>(value)); }
// Sixteen bits but the sign's: 0, or the exponent alone and full, with the sign.
std::optional<bool> seen_of(std::uint16_t bits, std::uint16_t infinity) {
  if ((bits & 0x7fff) == 0) return true;
  if (bits == (infinity | 0x8000)) return false;
  return std::nullopt;
}

template <typename T, typename Seen>
bool copy_seen(const Tensor& array, const Sizes& sizes, Seen&& seen, bool* out) {
  std::array<std::int64_t, 4> strides{};
  for (int d = 0; d < array.rank(); ++d) {
    const auto at = 4 - static_cast<std::size_t>(array.rank() - d);
    strides[at] = array.size(d) == 1 ? 0 : array.stride(d);
  }
  const auto* data = static_cast<const T*>(array.raw());
  for (std::int64_t b = 0; b < sizes[0]; ++b) {
    for (std::int64_t h = 0; h < sizes[1]; ++h) {
      for (std::int64_t i = 0; i < sizes[2]; ++i) {
        const T* row = data + b * strides[0] + h * strides[1] + i * strides[2];
        for (std::int64_t j = 0; j < sizes[3]; ++j) {
          const std::optional<bool> is = seen(row[j * strides[3]]);
          if (!is) return false;
          *out++ = *is;
        }
      }
    }
  }
  return true;
}

bool copy_seen(const Tensor& array, const Sizes& sizes, bool true_is_seen, bool* out) {
  switch (array.dtype()) {
    case DType::boolean:
      return copy_seen<bool>(
          array, sizes, [&](bool value) { return std::optional(value == true_is_seen); }, out);
    case DType::float32:
      return copy_seen<float>(
          array, sizes, [](float value) { return seen_of(value); }, out);
    case DType::float64:
      return copy_seen<double>(
          array, sizes, [](double value) { return seen_of(value); }, out);
    case DType::bfloat16:
      return copy_seen<std::uint16_t>(
          array, sizes, [](std::uint16_t bits) { return seen_of(bits, 0x7f80); }, out);
    case DType::float16:
      return copy_seen<std::uint16_t>(
          array, sizes, [](std::uint16_t bits) { return seen_of(bits, 0x7c00); }, out);
    case DType::int32:
    case DType::int64:
      break;
  }
  return false;
}

// Of each row, how many keys it sees, where those are the first.
std::optional<std::vector<std::int64_t>> prefixes(const bool* seen, std::int64_t rows, std::int64_t keys) {
  std::vector<std::int64_t> out;
  out.reserve(static_cast<std::size_t>(rows));
  for (const bool* row = seen; row != seen + rows * keys; row += keys) {
    const bool* const end = std::find(row, row + keys, false);
    if (std::find(end, row + keys, true) != row + keys) return std::nullopt;
    out.push_back(end - row);
  }
  return out;
}

// Query i of sequence b sees what stands at or before it and within the sequence's length.
bool is_causal(const std::vector<std::int64_t>& seen, const std::vector<std::int64_t>& lengths,
               std::int64_t queries, std::int64_t shift) {
  for (std::size_t row = 0; row < seen.size(); ++row) {
    const auto i = static_cast<std::int64_t>(row) % queries;
    const std::int64_t length = lengths[row / static_cast<std::size_t>(queries)];
    if (seen[row] != std::clamp<std::int64_t>(i + shift + 1, 0, length)) return false;
  }
  return true;
}

}  // namespace

std::optional<Mask> recognize(const Tensor& array, bool true_is_seen, std::int64_t batch,
                              std::int64_t queries, std::int64_t keys) {
  Sizes sizes{1, 1, 1, 1};
  if (array.rank() > 4)
    fail(ErrorCode::shape, "attention",
         fmt::format("the mask is {}; want what broadcasts to [B, H, T, S]", array.describe()));
  for (int d = 0; d < array.rank(); ++d)
    sizes[4 - static_cast<std::size_t>(array.rank() - d)] = array.size(d);
  const Tensor visible = Tensor::empty(Shape{sizes[0], sizes[1], sizes[2], sizes[3]}, DType::boolean);
  if (!copy_seen(array, sizes, true_is_seen, visible.data<bool>())) return std::nullopt;
  const Mask allowed = Mask::allow(visible);
  // One element for all keys, or for another number of them: Mask::allow knows, or says what is wrong.
  const bool fits =
      (sizes[0] == 1 || sizes[0] == batch) && (sizes[2] == 1 || sizes[2] == queries) && sizes[3] == keys;
  if (!fits || sizes[1] != 1 || batch == 0 || visible.numel() == 0) return allowed;
  const auto seen = prefixes(visible.data<bool>(), sizes[0] * sizes[2], keys);
  if (!seen) return allowed;

  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto begin = seen->begin() + (sizes[0] == 1 ? 0 : b * sizes[2]);
    lengths.push_back(*std::max_element(begin, begin + sizes[2]));
  }
  const bool whole = std::ranges::all_of(lengths, [&](std::int64_t length) { return length == keys; });
  if (sizes[2] == 1) return whole ? Mask() : Mask::padding(lengths);
  for (const Align align : {Align::top_left, Align::bottom_right}) {
    if (!is_causal(*seen, lengths, queries, align == Align::top_left ? 0 : keys - queries)) continue;
    return whole ? Mask::causal(align) : Mask::causal(align) & Mask::padding(lengths);
  }
  return allowed;
}

}  // namespace headway::python
