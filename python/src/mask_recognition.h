#pragma once
#include <cstdint>
#include <optional>

#include <headway/attention/mask.h>

namespace headway::python {

/// The simplest Mask that says what an array says which broadcasts to [B, H, T, S]: causal and padding where
/// they explain it, else Mask::allow. Elements are bool (true is seen where `true_is_seen`, else hidden), or
/// floats to be added, of which 0 shows a pair and -inf hides it: nothing where there are others, since those
/// are a bias. Error(shape) where the array does not broadcast.
std::optional<Mask> recognize(const Tensor& array, bool true_is_seen, std::int64_t batch,
                              std::int64_t queries, std::int64_t keys);

}  // namespace headway::python
