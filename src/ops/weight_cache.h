#pragma once
#include <cstdint>
#include <memory>

#include <headway/core/allocator.h>
#include <headway/core/tensor.h>

/// Weights packed for products, kept with their storage until its version changes: a training step packs each
/// weight once, and inference once at all. A weight has one packed form at a time: the one for inference
/// replaces those for training, and what is out of date goes when anything is packed.
namespace headway::inline v1::ops {

/// Keeps the bytes while a product reads them, whoever packs meanwhile.
using PackedBytes = std::shared_ptr<const core::Workspace>;

/// weight [O, I] reordered for oneDNN: for X·Wᵀ (for_gradient false) or dY·W (true), as `dtype`; see
/// kernels::pack. For what is recorded.
PackedBytes packed_weight(const Tensor& weight, DType dtype, bool for_gradient);

/// weight [O, I] (float32, bfloat16, float16) packed as `dtype` for kernels::row_gemm, for what is not
/// recorded. A storage on demand stays so: it is packed in pieces where its maker makes pieces, else from a
/// copy that lives as long as the packing.
PackedBytes packed_rows(const Tensor& weight, DType dtype);
/// The same where it is packed already, else null.
PackedBytes packed_rows_if_any(const Tensor& weight, DType dtype);

/// Rows ids [count] of weight [O, I], rounded to `dtype` (float32 or bfloat16) -> float32 out [count, I]. For
/// a storage on demand, which stays so: rows come from a packed form, so that a table tied to an output layer
/// exists once, else from their maker, else the table is packed.
void stored_rows(const Tensor& weight, DType dtype, const std::int32_t* ids, std::int64_t count, float* out);

}  // namespace headway::inline v1::ops
