#pragma once
#include <cstddef>

#include <headway/core/allocator.h>

namespace headway::inline v1::kernels {

// Memory that a thread keeps for its next product.
struct Scratch {
  void* pointer = nullptr;
  std::size_t bytes = 0;
  void* at_least(std::size_t wanted) {
    if (wanted > bytes) {
      core::deallocate(pointer, bytes);
      bytes = 0;
      pointer = core::allocate(wanted);
      bytes = wanted;
    }
    return pointer;
  }
  ~Scratch() { core::deallocate(pointer, bytes); }
};

}  // namespace headway::inline v1::kernels
