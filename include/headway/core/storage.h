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
  /// Bytes on demand (weights of a mapped file, dequantized or joined): `make` writes all of them to `out`.
  /// It is called by the first data(), which keeps what it wrote, and by every copy_to() before that, which
  /// does not. It may be called from several threads.
  Storage(std::size_t bytes, std::function<void(void* out)> make);
  /// The same, made in pieces of `piece` bytes, which divides `bytes`: `make` writes `count` of them from the
  /// `first` on. Who needs a part, or wants to hold no more than a part at a time, need not have the whole.
  Storage(std::size_t bytes, std::size_t piece,
          std::function<void(void* out, std::int64_t first, std::int64_t count)> make);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return make_ ? made() : data_.load(std::memory_order_relaxed); }
  /// True while the bytes exist nowhere but in their maker.
  bool on_demand() const { return make_ && !data_.load(std::memory_order_acquire); }
  /// Writes all bytes to `out`; those on demand stay so. A weight that is packed for products alone thus
  /// never exists unpacked.
  void copy_to(void* out) const;
  /// The unit of copy_part(): 1 where the bytes exist, a piece of their maker where it makes pieces, else all
  /// bytes.
  std::size_t piece() const { return on_demand() ? piece_ : 1; }
  /// Writes bytes [begin, begin + count), both whole pieces, to `out`, as copy_to() does with all.
  void copy_part(void* out, std::size_t begin, std::size_t count) const;
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
  std::size_t piece_ = 1;
  std::function<void(void*, std::int64_t, std::int64_t)> make_;
  mutable RenewedMutex making_;
};

}  // namespace headway::inline v1::core
