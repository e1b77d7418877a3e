#include <headway/core/storage.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

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

Storage::Storage(std::size_t bytes, std::function<void(void*)> make)
    : bytes_(bytes), piece_(std::max<std::size_t>(bytes, 1)) {
  make_ = [make = std::move(make)](void* out, std::int64_t, std::int64_t) { make(out); };
}

Storage::Storage(std::size_t bytes, std::size_t piece,
                 std::function<void(void*, std::int64_t, std::int64_t)> make)
    : bytes_(bytes), piece_(std::max<std::size_t>(piece, 1)), make_(std::move(make)) {
  if (bytes % piece_ != 0) {
    fail(ErrorCode::value, "storage",
         fmt::format("{} bytes in pieces of {}; want whole pieces", bytes, piece_));
  }
}

Storage::~Storage() {
  if (!owner_ && device_ == Device::cpu) deallocate(data_, bytes_);
}

void* Storage::made() const {
  if (void* data = data_.load(std::memory_order_acquire)) return data;
  const std::lock_guard lock(making_);
  if (void* data = data_.load(std::memory_order_relaxed)) return data;
  void* fresh = allocate(bytes_);
  try {
    make_(fresh, 0, static_cast<std::int64_t>(bytes_ / piece_));
  } catch (...) {
    deallocate(fresh, bytes_);
    throw;
  }
  data_.store(fresh, std::memory_order_release);
  return fresh;
}

void Storage::copy_to(void* out) const { copy_part(out, 0, bytes_); }

void Storage::copy_part(void* out, std::size_t begin, std::size_t count) const {
  const std::size_t unit = piece();
  if (begin % unit != 0 || count % unit != 0 || begin > bytes_ || count > bytes_ - begin) {
    fail(ErrorCode::value, "storage",
         fmt::format("bytes {} to {} of {} are asked for; want whole pieces of {}", begin, begin + count,
                     bytes_, unit));
  }
  if (count == 0) return;
  if (on_demand()) {
    make_(out, static_cast<std::int64_t>(begin / piece_), static_cast<std::int64_t>(count / piece_));
  } else {
    std::memcpy(out, static_cast<const char*>(data()) + begin, count);
  }
}

}  // namespace headway::inline v1::core
