#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <headway/core/device.h>
#include <headway/core/export.h>
#include <headway/core/fork.h>

namespace headway::inline v1::core {

/// A block of bytes that one or more tensors view. The version counts writes; views share it, so that a saved
/// tensor can tell that it was overwritten.
class HEADWAY_API Storage {
 public:
  /// Allocates (not on meta). `owner`, where given, keeps foreign memory alive instead.
  Storage(std::size_t bytes, Device device);
  Storage(void* data, std::size_t bytes, std::shared_ptr<void> owner);
  /// Bytes on demand (weights of a mapped file, dequantized or joined): `make` writes all of them to `out`. It
  /// is called by the first data(), which keeps what it wrote, and by every copy_to() before that, which does
  /// not. It may be called from several threads.
  Storage(std::size_t bytes, std::function<void(void* out)> make);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return make_ ? made() : data_.load(std::memory_order_relaxed); }
  /// True while the bytes exist nowhere but in their maker.
  bool on_demand() const { return make_ && !data_.load(std::memory_order_acquire); }
  /// Writes all bytes to `out`; those on demand stay so. A weight that is packed for products alone thus never
  /// exists unpacked.
  void copy_to(void* out) const;
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  std::uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

  /// Something derived from these bytes by a higher layer (reordered or converted weights) that lives as long
  /// as they do. The holder compares versions itself.
  std::shared_ptr<void> derived;

 private:
  void* made() const;
  mutable std::atomic<void*> data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_ = Device::cpu;
  std::uint64_t version_ = 0;
  std::shared_ptr<void> owner_;
  std::function<void(void*)> make_;
  mutable RenewedMutex making_;
};

}  // namespace headway::inline v1::core
