#include <headway/core/storage.h>

#include <cstring>

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

Storage::Storage(std::size_t bytes, std::function<void(void*)> make) : bytes_(bytes), make_(std::move(make)) {}

Storage::~Storage() {
  if (!owner_ && device_ == Device::cpu) deallocate(data_, bytes_);
}

void* Storage::made() const {
  if (void* data = data_.load(std::memory_order_acquire)) return data;
  const std::lock_guard lock(making_);
  if (void* data = data_.load(std::memory_order_relaxed)) return data;
  void* fresh = allocate(bytes_);
  try {
    make_(fresh);
  } catch (...) {
    deallocate(fresh, bytes_);
    throw;
  }
  data_.store(fresh, std::memory_order_release);
  return fresh;
}

void Storage::copy_to(void* out) const {
  if (on_demand()) {
    make_(out);
  } else if (bytes_ > 0) {
    std::memcpy(out, data(), bytes_);
  }
}

}  // namespace headway::inline v1::core
