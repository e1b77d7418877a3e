#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <headway/core/device.h>
#include <headway/core/dtype.h>
#include <headway/core/error.h>
#include <headway/core/export.h>
#include <headway/core/shape.h>
#include <headway/core/storage.h>

namespace headway::inline v1 {

class Tensor;

namespace core {
/// What the autograd layer hangs on a tensor. Core knows only these questions; autograd answers them.
struct HEADWAY_API GradientState {
  virtual ~GradientState() = default;
  virtual Tensor grad() const = 0;
  virtual void set_grad(Tensor grad) = 0;
  virtual void backward(const Tensor& root, const Tensor& seed) = 0;
};
}  // namespace core

/// A strided view of typed bytes. Copying a Tensor copies the handle: both name the same elements and
/// gradient. A default-constructed Tensor is undefined and stands for "none" where an argument is optional.
class HEADWAY_API Tensor {
 public:
  Tensor() = default;
  /// Uninitialised, contiguous.
  static Tensor empty(const Shape& shape, DType dtype = DType::float32, Device device = Device::cpu);
  /// Views foreign, contiguous memory without copying; `owner` keeps it alive.
  static Tensor wrap(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner);
  /// Contiguous elements that `make` writes when they are first read (core::Storage says when).
  static Tensor on_demand(const Shape& shape, DType dtype, std::function<void(void* out)> make);
  /// The same of rank 1 and up, where `make` writes rows (along dimension 0) first, …, first + count - 1, one
  /// after another. What packs or looks up rows then never holds all of them. May be called from several
  /// threads at once.
  static Tensor on_demand(const Shape& shape, DType dtype,
                          std::function<void(void* out, std::int64_t first, std::int64_t count)> make_rows);

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const { return get().shape; }
  const Strides& strides() const { return get().strides; }
  int rank() const { return get().shape.rank(); }
  /// Size of dimension i; negative counts from the end.
  std::int64_t size(int i) const { return get().shape[i]; }
  std::int64_t stride(int i) const { return get().strides[i]; }
  std::int64_t numel() const { return get().shape.numel(); }
  DType dtype() const { return get().dtype; }
  Device device() const { return get().storage->device(); }
  std::int64_t offset() const { return get().offset; }
  bool is_contiguous() const;

  /// First element. Error(dtype) when T is not the tensor's type, Error(unsupported) on meta.
  template <typename T>
  T* data() const {
    return static_cast<T*>(checked_data(dtype_v<T>));
  }
  void* raw() const;
  /// The only element. Error(shape) when there are more.
  template <typename T>
  T item() const {
    require_single();
    return *data<T>();
  }
  /// All elements in row-major order, copied, whatever the strides.
  template <typename T>
  std::vector<T> to_vector() const {
    std::vector<T> out(static_cast<std::size_t>(numel()));
    if constexpr (std::is_same_v<T, bool>) {
      auto bytes = std::make_unique<bool[]>(out.size());
      copy_out(bytes.get(), dtype_v<T>);
      out.assign(bytes.get(), bytes.get() + out.size());
    } else {
      copy_out(out.data(), dtype_v<T>);
    }
    return out;
  }

  /// The same storage under another shape, strides and offset (in elements of this view's storage). No
  /// gradient flows through it: views that do are in ops/views.h.
  Tensor strided(const Shape& shape, const Strides& strides, std::int64_t offset) const;
  /// The same elements, outside the tape.
  Tensor detach() const;

  core::Storage& storage() const { return *get().storage; }
  std::uint64_t version() const { return get().storage->version(); }
  /// Says that the elements were written. Every op that writes in place calls it.
  void bump_version() const { get().storage->bump_version(); }

  /// True when a backward pass will reach this tensor.
  bool requires_grad() const { return impl_ && impl_->gradient != nullptr; }
  /// The accumulated gradient of a leaf; undefined before the first backward().
  Tensor grad() const;
  void set_grad(Tensor grad) const;
  /// Walks the tape back from here. `seed` is the gradient of the result with respect to this tensor: it may
  /// be left out for a tensor of one element (then 1).
  void backward() const;
  void backward(const Tensor& seed) const;
  const std::shared_ptr<core::GradientState>& gradient_state() const { return get().gradient; }
  void set_gradient_state(std::shared_ptr<core::GradientState> state) const {
    get().gradient = std::move(state);
  }

  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }
  /// True when no other handle, view or tape node shares these bytes: then they may be reused in place.
  bool is_unique() const { return impl_.use_count() == 1 && impl_->storage.use_count() == 1; }
  /// "float32 [2, 3]", for messages.
  std::string describe() const;

 private:
  struct Impl {
    std::shared_ptr<core::Storage> storage;
    Shape shape;
    Strides strides;
    std::int64_t offset = 0;
    DType dtype = DType::float32;
    std::shared_ptr<core::GradientState> gradient;
  };
  Impl& get() const;
  void* checked_data(DType wanted) const;
  void require_single() const;
  void copy_out(void* out, DType wanted) const;
  std::shared_ptr<Impl> impl_;
};

}  // namespace headway::inline v1
