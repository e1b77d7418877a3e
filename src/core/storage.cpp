#include <headway/core/storage.h>

#include <headway/core/allocator.h>
#include <headway/core/error.h>

namespace headway::inline v1::core {

Storage::Storage(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
  if (device == Device::cuda) {
    fail(ErrorCode::unsupported, "storage", "cuda tensors are not built into this library; want cpu or meta");
  }
  if (device == Device::cpu) data_ = allocate(bytes);
}

Storage::Storage(void* data, std::size_t bytes, std::shared_ptr<void> owner)
    : data_(data), bytes_(bytes), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (!owner_ && device_ == Device::cpu) deallocate(data_, bytes_);
}

}  // namespace headway::inline v1::core
