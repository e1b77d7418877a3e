#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include <headway/core/device.h>
#include <headway/core/export.h>

namespace headway::inline v1::core {

/// A block of bytes that one or more tensors view. The version counts writes; views share it, so that a saved
/// tensor can tell that it was overwritten.
class HEADWAY_API Storage {
 public:
  /// Allocates (not on meta). `owner`, where given, keeps foreign memory alive instead.
  Storage(std::size_t bytes, Device device);
  Storage(void* data, std::size_t bytes, std::shared_ptr<void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  std::uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

  /// Something derived from these bytes by a higher layer (reordered or converted weights) that lives as long
  /// as they do. The holder compares versions itself.
  std::shared_ptr<void> derived;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_ = Device::cpu;
  std::uint64_t version_ = 0;
  std::shared_ptr<void> owner_;
};

}  // namespace headway::inline v1::core
