#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1::io {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

struct SafeTensors {
  std::vector<NamedTensor> tensors;  ///< in the order of their bytes in the file
  std::map<std::string, std::string> metadata;
};

/// Reads a safetensors file (8 bytes of header length, a JSON header, the bytes of the tensors). Everything
/// in it is checked before any tensor is made: the header's length and syntax, every type, shape and offset,
/// that the tensors cover the rest of the file with neither hole nor overlap, and that booleans are 0 or 1.
/// Error(format) names the file, the tensor and what is wrong; Error(io) when the file cannot be read.
HEADWAY_API SafeTensors load_safetensors(const std::filesystem::path& path);

/// Writes one, atomically. Tensors may be strided views; wider types come first, so that all are aligned, and
/// the order is kept otherwise. Error(value) for a name given twice.
HEADWAY_API void save_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                                  const std::map<std::string, std::string>& metadata = {});

/// Copies the elements of `source` into the tensors of `target` with the same names. Before the first is
/// written, names, shapes and dtypes are compared; Error(format) beginning with `what` lists those missing,
/// extra or different. Targets are contiguous.
HEADWAY_API void assign(const std::vector<NamedTensor>& target, const std::vector<NamedTensor>& source,
                        std::string_view what);

}  // namespace headway::inline v1::io
