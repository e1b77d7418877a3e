#pragma once
#include <cstddef>
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/core/export.h>
#include <headway/core/shape.h>

namespace headway::inline v1::kernels {

/// to[i] = from[i] for every index i of `shape`; strides in elements of `width` bytes (1, 2, 4 or 8).
HEADWAY_API void copy_strided(std::size_t width, const Shape& shape, const void* from,
                              const Strides& from_strides, void* to, const Strides& to_strides);

/// Contiguous conversion. Floating to bool is != 0, floating to integer truncates.
HEADWAY_API void convert(DType from_dtype, const void* from, DType to_dtype, void* to, std::int64_t count);

}  // namespace headway::inline v1::kernels
