#pragma once
#include <filesystem>

#include <headway/core/export.h>
#include <headway/core/tensor.h>

namespace headway::inline v1::io {

/// Writes a contiguous float32 tensor as NumPy's .npy (version 1.0, C order, little-endian), whole or not at
/// all. Error(dtype) for another type.
HEADWAY_API void save_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace headway::inline v1::io
