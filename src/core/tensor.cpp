#include <headway/core/tensor.h>

#include <cstring>

#include <fmt/format.h>

namespace headway::inline v1 {

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  for (const std::int64_t dim : shape) {
    if (dim < 0)
      fail(ErrorCode::shape, "tensor", fmt::format("shape {} has a negative dimension", shape.str()));
  }
  const std::int64_t count = shape.numel();
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(count, static_cast<std::int64_t>(size_of(dtype)), &bytes)) {
    fail(ErrorCode::shape, "tensor", fmt::format("shape {} has more bytes than 64 bits count", shape.str()));
  }
  Tensor out;
  out.impl_ = std::make_shared<Impl>();
  out.impl_->storage = std::make_shared<core::Storage>(static_cast<std::size_t>(bytes), device);
  out.impl_->shape = shape;
  out.impl_->strides = contiguous_strides(shape);
  out.impl_->dtype = dtype;
  return out;
}

Tensor Tensor::on_demand(const Shape& shape, DType dtype, std::function<void(void*)> make) {
  Tensor out = Tensor::empty(shape, dtype, Device::meta);
  out.impl_->storage = std::make_shared<core::Storage>(out.impl_->storage->bytes(), std::move(make));
  return out;
}

Tensor Tensor::on_demand(const Shape& shape, DType dtype,
                         std::function<void(void*, std::int64_t, std::int64_t)> make_rows) {
  if (shape.rank() == 0)
    fail(ErrorCode::shape, "tensor", "a scalar has no rows to make; want rank 1 or more");
  Tensor out = Tensor::empty(shape, dtype, Device::meta);
  const std::size_t bytes = out.impl_->storage->bytes();
  const std::size_t row = shape[0] > 0 ? bytes / static_cast<std::size_t>(shape[0]) : 1;
  out.impl_->storage = std::make_shared<core::Storage>(bytes, row, std::move(make_rows));
  return out;
}

Tensor Tensor::wrap(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner) {
  if (!owner) owner = std::shared_ptr<void>(data, [](void*) {});
  Tensor out;
  out.impl_ = std::make_shared<Impl>();
  const auto bytes = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  out.impl_->storage = std::make_shared<core::Storage>(data, bytes, std::move(owner));
  out.impl_->shape = shape;
  out.impl_->strides = contiguous_strides(shape);
  out.impl_->dtype = dtype;
  return out;
}

Tensor::Impl& Tensor::get() const {
  if (!impl_) fail(ErrorCode::value, "tensor", "is undefined; want a tensor with elements");
  return *impl_;
}

bool Tensor::is_contiguous() const {
  const Impl& impl = get();
  std::int64_t step = 1;
  for (int i = impl.shape.rank() - 1; i >= 0; --i) {
    if (impl.shape[i] == 0) return true;
    if (impl.shape[i] != 1 && impl.strides[i] != step) return false;
    step *= impl.shape[i];
  }
  return true;
}

void* Tensor::raw() const {
  const Impl& impl = get();
  if (device() == Device::meta) {
    fail(ErrorCode::unsupported, "tensor", fmt::format("{} on meta has no elements to read", describe()));
  }
  return static_cast<char*>(impl.storage->data()) +
         impl.offset * static_cast<std::int64_t>(size_of(impl.dtype));
}

void* Tensor::checked_data(DType wanted) const {
  if (dtype() != wanted) {
    fail(ErrorCode::dtype, "tensor",
         fmt::format("elements are {}, asked for as {}", name_of(dtype()), name_of(wanted)));
  }
  return raw();
}

void Tensor::require_single() const {
  if (numel() != 1) fail(ErrorCode::shape, "item", fmt::format("tensor is {}; want one element", describe()));
}

void Tensor::copy_out(void* out, DType wanted) const {
  const char* source = static_cast<const char*>(checked_data(wanted));
  const auto width = static_cast<std::int64_t>(size_of(wanted));
  if (numel() == 0) return;
  if (is_contiguous()) {
    std::memcpy(out, source, static_cast<std::size_t>(numel() * width));
    return;
  }
  std::array<std::int64_t, Shape::max_rank> at{};
  auto* target = static_cast<char*>(out);
  const std::int64_t count = numel();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t position = 0;
    for (int d = 0; d < rank(); ++d) position += at[static_cast<std::size_t>(d)] * stride(d);
    std::memcpy(target + i * width, source + position * width, static_cast<std::size_t>(width));
    for (int d = rank() - 1; d >= 0 && ++at[static_cast<std::size_t>(d)] == size(d); --d)
      at[static_cast<std::size_t>(d)] = 0;
  }
}

Tensor Tensor::strided(const Shape& shape, const Strides& strides, std::int64_t offset) const {
  const Impl& impl = get();
  std::int64_t last = offset;
  bool any = true;
  for (int i = 0; i < shape.rank(); ++i) {
    any = any && shape[i] > 0;
    last += (shape[i] - 1) * strides[i];
  }
  const auto limit = static_cast<std::int64_t>(impl.storage->bytes() / size_of(impl.dtype));
  if (shape.rank() != strides.rank() || offset < 0 || (any && last >= limit)) {
    fail(ErrorCode::shape, "strided",
         fmt::format("shape {} with strides {} at {} leaves a storage of {} elements", shape.str(),
                     strides.str(), offset, limit));
  }
  Tensor out;
  out.impl_ = std::make_shared<Impl>(Impl{impl.storage, shape, strides, offset, impl.dtype, nullptr});
  return out;
}

Tensor Tensor::detach() const {
  const Impl& impl = get();
  Tensor out;
  out.impl_ =
      std::make_shared<Impl>(Impl{impl.storage, impl.shape, impl.strides, impl.offset, impl.dtype, nullptr});
  return out;
}

Tensor Tensor::grad() const { return requires_grad() ? impl_->gradient->grad() : Tensor(); }

void Tensor::set_grad(Tensor grad) const {
  if (!requires_grad()) fail(ErrorCode::value, "set_grad", "tensor does not require a gradient");
  impl_->gradient->set_grad(std::move(grad));
}

void Tensor::backward() const { backward(Tensor()); }

void Tensor::backward(const Tensor& seed) const {
  if (!requires_grad()) {
    fail(ErrorCode::value, "backward",
         "nothing here requires a gradient: it was computed under NoGrad, or is itself a gradient (double "
         "backward is not "
         "supported)");
  }
  get().gradient->backward(*this, seed);
}

std::string Tensor::describe() const {
  if (!defined()) return "undefined";
  return fmt::format("{} {}", name_of(dtype()), shape().str());
}

}  // namespace headway::inline v1
