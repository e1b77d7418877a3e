#include <headway/io/npy.h>

#include <string>
#include <string_view>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>

namespace headway::inline v1::io {

void save_npy(const std::filesystem::path& path, const Tensor& tensor) {
  if (tensor.dtype() != DType::float32)
    fail(ErrorCode::dtype, "save_npy",
         fmt::format("the tensor is {}; want float32", name_of(tensor.dtype())));
  if (!tensor.is_contiguous())
    fail(ErrorCode::value, "save_npy", "the tensor is not contiguous; want one that is");
  std::string shape;
  for (std::int64_t i = 0; i < tensor.rank(); ++i) shape += fmt::format("{}, ", tensor.size(i));
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape);
  constexpr std::size_t kBefore = 10, kAlignment = 64;  // magic, version and length; where the data begins
  while ((kBefore + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  AtomicFile file(path);
  file.write(std::string_view("\x93NUMPY\x01\x00", 8));
  const char length[2] = {static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  file.write(length, sizeof(length));
  file.write(header);
  if (tensor.numel() > 0)
    file.write(tensor.data<float>(), static_cast<std::size_t>(tensor.numel()) * sizeof(float));
  file.commit();
}

}  // namespace headway::inline v1::io
