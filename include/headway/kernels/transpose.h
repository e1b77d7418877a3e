#pragma once
#include <cstdint>

#include <headway/core/dtype.h>
#include <headway/core/export.h>

namespace headway::inline v1::kernels {

/// out[c·out_row + r] = in[r·in_row + c] for rows x columns elements of two or four bytes. Runs on the
/// calling thread.
HEADWAY_API void transpose_elements(DType dtype, const void* in, std::int64_t in_row, std::int64_t rows,
                                    std::int64_t columns, void* out, std::int64_t out_row);

}  // namespace headway::inline v1::kernels
