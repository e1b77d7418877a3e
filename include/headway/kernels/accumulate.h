#pragma once
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/core/export.h>

namespace headway::inline v1::kernels {

/// into[i] += other[i] for contiguous floating arrays of one dtype.
HEADWAY_API void accumulate(DType dtype, void* into, const void* other, std::int64_t count);

}  // namespace headway::inline v1::kernels
