#include "ops/weight_cache.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include <headway/core/fork.h>
#include <headway/core/parallel.h>
#include <headway/kernels/gemm.h>
#include <headway/kernels/row_gemm.h>

namespace headway::inline v1::ops {
namespace {

enum class Form { forward, gradient, rows };

// A storage can hold several weights (views of one matrix), each packed for itself.
using View = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;
using Key = std::tuple<View, Form, DType>;

// Whoever packs holds the entry's mutex; `version` is the weight's once all bytes are there.
struct Entry {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  core::RenewedMutex mutex;
  std::atomic<std::uint64_t> version = kNone;
  PackedBytes bytes;
};
using Cache = std::map<Key, std::shared_ptr<Entry>>;

// Guards every storage's cache; held for look-ups alone, never while something is packed.
core::WaitedMutex<std::mutex> cache_mutex;

View view_of(const Tensor& weight) {
  return {weight.offset(), weight.size(0), weight.size(1), weight.stride(0), weight.stride(1)};
}

Cache& cache_of(core::Storage& storage) {
  if (!storage.derived) storage.derived = std::make_shared<Cache>();
  return *std::static_pointer_cast<Cache>(storage.derived);
}

// The entry of this form; what it replaces, and other versions, go.
std::shared_ptr<Entry> entry_of(const Tensor& weight, const Key& key) {
  std::lock_guard lock(cache_mutex);
  Cache& cache = cache_of(weight.storage());
  std::erase_if(cache, [&](const auto& item) {
    const auto& [view, kind, type] = item.first;
    const bool replaced = std::get<1>(key) == Form::rows && kind != Form::rows && view == std::get<0>(key);
    const std::uint64_t version = item.second->version;
    return replaced || (version != Entry::kNone && version != weight.version());
  });
  std::shared_ptr<Entry>& entry = cache[key];
  if (!entry) entry = std::make_shared<Entry>();
  return entry;
}

// The entry of this form, packed by `pack` (given a workspace of `bytes`) unless it is there.
template <typename Pack>
PackedBytes find_or_pack(const Tensor& weight, Form form, DType dtype, std::size_t bytes, Pack&& pack) {
  const std::shared_ptr<Entry> entry = entry_of(weight, {view_of(weight), form, dtype});
  std::lock_guard lock(entry->mutex);
  if (entry->version == weight.version()) return entry->bytes;
  entry->version = Entry::kNone;
  const auto made = std::make_shared<const core::Workspace>(bytes);
  pack(made->template as<void>());
  entry->bytes = made;
  entry->version = weight.version();
  return made;
}

constexpr std::int64_t kRowsAtOnce = kernels::kPackedOutputs;

kernels::PackWeightArgs args_of(const Tensor& weight, DType dtype, void* packed) {
  return {.n = weight.size(0),
          .k = weight.size(1),
          .dtype = dtype,
          .packed = packed,
          .rows = weight.size(0),
          .w_dtype = weight.dtype(),
          .w_row = weight.stride(0),
          .w_col = weight.stride(1)};
}

// The weight's rows lie one after another in a storage that makes pieces of a row, or of a part of one.
bool made_by_rows(const Tensor& weight) {
  const auto row = static_cast<std::size_t>(weight.size(1)) * size_of(weight.dtype());
  const auto offset = static_cast<std::size_t>(weight.offset()) * size_of(weight.dtype());
  const std::size_t piece = weight.storage().piece();
  return weight.stride(1) == 1 && weight.stride(0) == weight.size(1) && row % piece == 0 &&
         offset % piece == 0;
}

template <typename T>
void widen(const void* in, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(static_cast<const T*>(in)[i]);
}
void widen(DType dtype, const void* in, std::int64_t count, float* out) {
  if (dtype == DType::bfloat16) return widen<bfloat16>(in, count, out);
  if (dtype == DType::float16) return widen<float16>(in, count, out);
  widen<float>(in, count, out);
}

void pack_in_pieces(const Tensor& weight, DType dtype, void* packed) {
  const auto width = size_of(weight.dtype());
  core::parallel_ranges(weight.size(0), kRowsAtOnce, [&](std::int64_t begin, std::int64_t end) {
    const auto row = static_cast<std::size_t>(weight.size(1)) * width;
    const core::Workspace rows(static_cast<std::size_t>(end - begin) * row);
    weight.storage().copy_part(
        rows.as<void>(),
        static_cast<std::size_t>(weight.offset()) * width + static_cast<std::size_t>(begin) * row,
        rows.bytes());
    kernels::PackWeightArgs args = args_of(weight, dtype, packed);
    args.first = begin;
    args.rows = end - begin;
    args.w = rows.as<void>();
    kernels::pack_weight(args);
  });
}

void pack_copy(const Tensor& weight, DType dtype, void* packed) {
  constexpr std::size_t kLarge = std::size_t{4} << 20;
  {
    const core::Workspace whole(weight.storage().bytes());
    weight.storage().copy_to(whole.as<void>());
    kernels::PackWeightArgs args = args_of(weight, dtype, packed);
    args.w = whole.as<char>() + weight.offset() * static_cast<std::int64_t>(size_of(weight.dtype()));
    kernels::pack_weight(args);
  }
  // Else the allocator would keep the copy for a tensor of that size, which may never come.
  if (weight.storage().bytes() >= kLarge) release_cached_memory();
}

}  // namespace

PackedBytes packed_weight(const Tensor& weight, DType dtype, bool for_gradient) {
  const std::int64_t outputs = weight.size(0), inputs = weight.size(1);
  const std::int64_t k = for_gradient ? outputs : inputs, n = for_gradient ? inputs : outputs;
  return find_or_pack(weight, for_gradient ? Form::gradient : Form::forward, dtype,
                      kernels::packed_bytes(dtype, k, n), [&](void* packed) {
                        kernels::pack(weight.dtype(), weight.raw(), weight.stride(for_gradient ? 0 : 1),
                                      weight.stride(for_gradient ? 1 : 0), dtype, k, n, packed);
                      });
}

PackedBytes packed_rows(const Tensor& weight, DType dtype) {
  return find_or_pack(weight, Form::rows, dtype,
                      kernels::packed_weight_bytes(dtype, weight.size(0), weight.size(1)), [&](void* packed) {
                        if (!weight.storage().on_demand()) {
                          kernels::PackWeightArgs args = args_of(weight, dtype, packed);
                          args.w = weight.raw();
                          kernels::pack_weight(args);
                        } else if (made_by_rows(weight)) {
                          pack_in_pieces(weight, dtype, packed);
                        } else {
                          pack_copy(weight, dtype, packed);
                        }
                      });
}

PackedBytes packed_rows_if_any(const Tensor& weight, DType dtype) {
  std::shared_ptr<Entry> entry;
  {
    std::lock_guard lock(cache_mutex);
    const Cache& cache = cache_of(weight.storage());
    const auto it = cache.find({view_of(weight), Form::rows, dtype});
    if (it == cache.end()) return nullptr;
    entry = it->second;
  }
  std::lock_guard lock(entry->mutex);
  return entry->version == weight.version() ? entry->bytes : nullptr;
}

void stored_rows(const Tensor& weight, DType dtype, const std::int32_t* ids, std::int64_t count, float* out) {
  const std::int64_t width = weight.size(1);
  DType packed_as = DType::float32;
  PackedBytes packed = packed_rows_if_any(weight, packed_as);
  // Rounded rows serve who wants them rounded, or had them so.
  if (!packed && (dtype == DType::bfloat16 || weight.dtype() == DType::bfloat16))
    packed = packed_rows_if_any(weight, packed_as = DType::bfloat16);
  if (!packed && !made_by_rows(weight)) packed = packed_rows(weight, packed_as = dtype);
  const bool rounds = dtype == DType::bfloat16 && (!packed || packed_as != dtype);
  core::parallel_for(count, [&](std::int64_t i) {
    float* row = out + i * width;
    if (packed) {
      kernels::packed_row(packed_as, packed->as<void>(), width, ids[i], row);
    } else {
      const std::size_t bytes = static_cast<std::size_t>(width) * size_of(weight.dtype());
      const core::Workspace made(bytes);
      const auto first = static_cast<std::size_t>(weight.offset()) * size_of(weight.dtype());
      weight.storage().copy_part(made.as<void>(), first + static_cast<std::size_t>(ids[i]) * bytes, bytes);
      widen(weight.dtype(), made.as<void>(), width, row);
    }
    for (std::int64_t c = 0; rounds && c < width; ++c) row[c] = static_cast<float>(bfloat16(row[c]));
  });
}

}  // namespace headway::inline v1::ops
