#include "io/tensor_bytes.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <headway/core/error.h>
#include <headway/core/parallel.h>

#include "io/convert.h"

namespace headway::inline v1::io {
namespace {

constexpr std::int64_t kChunk = 1 << 20;  // elements converted at a time

// A contiguous copy, as words of the same width.
template <typename Word>
Tensor packed(const Tensor& t) {
  Tensor out = Tensor::empty(t.shape(), t.dtype());
  const auto* from = static_cast<const Word*>(t.raw());
  auto* to = static_cast<Word*>(out.raw());
  const std::int64_t width = t.shape().back();
  const std::int64_t count = t.numel();
  std::vector<std::int64_t> at(static_cast<std::size_t>(t.rank()), 0);
  for (std::int64_t i = 0; i < count; i += width) {
    std::int64_t row = 0;
    for (int d = 0; d + 1 < t.rank(); ++d) row += at[static_cast<std::size_t>(d)] * t.stride(d);
    for (std::int64_t j = 0; j < width; ++j) to[i + j] = from[row + j * t.stride(-1)];
    for (int d = t.rank() - 2; d >= 0 && ++at[static_cast<std::size_t>(d)] == t.size(d); --d)
      at[static_cast<std::size_t>(d)] = 0;
  }
  return out;
}

Tensor contiguous(const Tensor& t) {
  switch (size_of(t.dtype())) {
    case 8:
      return packed<std::uint64_t>(t);
    case 4:
      return packed<std::uint32_t>(t);
    case 2:
      return packed<std::uint16_t>(t);
    default:
      return packed<std::uint8_t>(t);
  }
}

}  // namespace

TensorBytes::TensorBytes(const Tensor& tensor) : dtype_(tensor.dtype()), count_(tensor.numel()) {
  if (count_ == 0) return;
  const bool whole = static_cast<std::size_t>(count_) * size_of(dtype_) == tensor.storage().bytes();
  if (tensor.is_contiguous() && whole && tensor.storage().on_demand()) {
    keep_ = Tensor::empty(tensor.shape(), dtype_);
    tensor.storage().copy_to(keep_.raw());
  } else {
    keep_ = tensor.is_contiguous() ? tensor : contiguous(tensor);
  }
  data_ = keep_.raw();
}

TensorBytes::~TensorBytes() = default;

void TensorBytes::floats(std::int64_t begin, std::int64_t end, float* out) const {
  const std::int64_t n = end - begin;
  switch (dtype_) {
    case DType::float32:
      std::copy_n(static_cast<const float*>(data_) + begin, n, out);
      return;
    case DType::float64:
      std::transform(static_cast<const double*>(data_) + begin, static_cast<const double*>(data_) + end, out,
                     [](double x) { return static_cast<float>(x); });
      return;
    case DType::bfloat16:
    case DType::float16: {
      const auto* words = static_cast<const std::uint16_t*>(data_);
      const auto widen = dtype_ == DType::bfloat16 ? bfloat_to_float : half_to_float;
      std::transform(words + begin, words + end, out, widen);
      return;
    }
    default:
      fail(ErrorCode::internal, "write_tensor", "integers are not converted");
  }
}

void write_elements(AtomicFile& file, const TensorBytes& bytes, DType dtype) {
  if (bytes.count() == 0) return;
  if (dtype == bytes.dtype()) {
    return file.write(bytes.data(), static_cast<std::size_t>(bytes.count()) * size_of(dtype));
  }
  const auto chunk = static_cast<std::size_t>(std::min(kChunk, bytes.count()));
  std::vector<float> floats(chunk);
  std::vector<char> out(chunk * size_of(dtype));
  for (std::int64_t begin = 0; begin < bytes.count(); begin += kChunk) {
    const std::int64_t n = std::min(kChunk, bytes.count() - begin);
    core::parallel_ranges(n, std::int64_t{1} << 15, [&](std::int64_t from, std::int64_t to) {
      float* piece = floats.data() + from;
      bytes.floats(begin + from, begin + to, piece);
      if (dtype == DType::float32) {
        std::copy_n(piece, to - from, reinterpret_cast<float*>(out.data()) + from);
      } else if (dtype == DType::float64) {
        std::copy_n(piece, to - from, reinterpret_cast<double*>(out.data()) + from);
      } else {
        std::transform(piece, piece + (to - from), reinterpret_cast<std::uint16_t*>(out.data()) + from,
                       dtype == DType::bfloat16 ? float_to_bfloat : float_to_half);
      }
    });
    file.write(out.data(), static_cast<std::size_t>(n) * size_of(dtype));
  }
}

}  // namespace headway::inline v1::io
