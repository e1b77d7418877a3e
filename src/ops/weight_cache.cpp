#include "ops/weight_cache.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>

#include <headway/core/allocator.h>
#include <headway/core/fork.h>
#include <headway/kernels/gemm.h>

namespace headway::inline v1::ops {
namespace {

// A storage can hold several weights (views of one matrix), each packed for itself.
using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, DType, bool>;

// Whoever packs holds the entry's mutex; `version` has a value once all bytes are there.
struct Entry {
  core::RenewedMutex mutex;
  std::optional<std::uint64_t> version;
  std::unique_ptr<core::Workspace> bytes;
};
using Cache = std::map<Key, Entry>;

// Entries stay where they are as long as the storage lives.
Entry& entry_of(core::Storage& storage, const Key& key) {
  static core::WaitedMutex<std::mutex> mutex;
  std::lock_guard lock(mutex);
  if (!storage.derived) storage.derived = std::make_shared<Cache>();
  return (*std::static_pointer_cast<Cache>(storage.derived))[key];
}

}  // namespace

const void* packed_weight(const Tensor& weight, DType dtype, bool for_gradient) {
  Entry& entry = entry_of(weight.storage(), {weight.offset(), weight.size(0), weight.size(1),
                                             weight.stride(0), dtype, for_gradient});
  std::lock_guard lock(entry.mutex);
  if (entry.version == weight.version()) return entry.bytes->as<void>();
  entry.version.reset();
  const std::int64_t outputs = weight.size(0);
  const std::int64_t inputs = weight.size(1);
  const std::int64_t k = for_gradient ? outputs : inputs;
  const std::int64_t n = for_gradient ? inputs : outputs;
  if (!entry.bytes) entry.bytes = std::make_unique<core::Workspace>(kernels::packed_bytes(dtype, k, n));
  if (for_gradient) {
    kernels::pack(weight.dtype(), weight.raw(), weight.stride(0), weight.stride(1), dtype, k, n,
                  entry.bytes->as<void>());
  } else {
    kernels::pack(weight.dtype(), weight.raw(), weight.stride(1), weight.stride(0), dtype, k, n,
                  entry.bytes->as<void>());
  }
  entry.version = weight.version();
  return entry.bytes->as<void>();
}

}  // namespace headway::inline v1::ops
