#include <headway/ops/views.h>

#include <algorithm>
#include <optional>

#include <headway/autograd/tape.h>
#include <headway/kernels/copy.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {

void copy_elements(const Tensor& from, const Tensor& to) {
  if (detail::is_meta({from, to})) return;
  kernels::copy_strided(size_of(from.dtype()), from.shape(), from.raw(), from.strides(), to.raw(),
                        to.strides());
}

Tensor zeros_like(const Tensor& x, const Shape& shape) {
  Tensor out = Tensor::empty(shape, x.dtype(), x.device());
  // All-zero bytes are zero in every dtype.
  if (x.device() != Device::meta && out.numel()) {
    std::fill_n(static_cast<char*>(out.raw()), static_cast<std::size_t>(out.numel()) * size_of(out.dtype()),
                char{0});
  }
  return out;
}

int dimension(const char* operation, const Tensor& x, int dim) {
  if (dim < -x.rank() || dim >= x.rank()) {
    fail(ErrorCode::shape, operation,
         fmt::format("dimension is {}; {} has dimensions -{} to {}", dim, x.describe(), x.rank(),
                     x.rank() - 1));
  }
  return dim < 0 ? dim + x.rank() : dim;
}

// Strides that show x under `shape` without moving elements: each run of x's dimensions that steps evenly can
// be cut anew, nothing can be joined across runs.
std::optional<Strides> restride(const Tensor& x, const Shape& shape) {
  Strides strides = contiguous_strides(shape);
  if (x.numel() == 0 || x.is_contiguous()) return strides;
  struct Run {
    std::int64_t size, step;
  };
  std::vector<Run> runs;
  for (int i = 0; i < x.rank(); ++i) {
    if (x.size(i) == 1) continue;  // its stride means nothing
    if (!runs.empty() && runs.back().step == x.size(i) * x.stride(i)) {
      runs.back() = {runs.back().size * x.size(i), x.stride(i)};
    } else {
      runs.push_back({x.size(i), x.stride(i)});
    }
  }
  int to = shape.rank() - 1;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    std::int64_t rest = run->size, step = run->step;
    while (rest > 1) {
      if (to < 0 || rest % shape[to] != 0) return std::nullopt;
      strides[to] = step;
      step *= shape[to];
      rest /= shape[to--];
    }
  }
  return strides;
}

// One dimension of -1 becomes what is left.
Shape completed(const Tensor& x, const Shape& shape) {
  Shape out = shape;
  int open = -1;
  std::int64_t known = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == -1 && open < 0) {
      open = i;
    } else if (shape[i] < 0) {
      fail(ErrorCode::shape, "reshape",
           fmt::format("shape is {}; want sizes, and -1 at most once", shape.str()));
    } else {
      known *= shape[i];
    }
  }
  if (open >= 0 && known > 0 && x.numel() % known == 0) out[open] = x.numel() / known;
  if ((open >= 0 && out[open] < 0) || out.numel() != x.numel()) {
    fail(ErrorCode::shape, "reshape",
         fmt::format("{} does not fit shape {}; it has {} elements", x.describe(), shape.str(), x.numel()));
  }
  return out;
}

}  // namespace

namespace detail {
Tensor plain(const Tensor& x) {
  if (x.is_contiguous()) return x.requires_grad() ? x.detach() : x;
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.device());
  copy_elements(x, out);
  return out;
}
}  // namespace detail

Tensor contiguous(const Tensor& x) {
  if (x.is_contiguous()) return x;
  Tensor out = detail::plain(x);
  if (autograd::needs_grad({x})) {
    autograd::record("contiguous", {x}, {out}, [](const std::vector<Tensor>& grads) { return grads; });
  }
  return out;
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  const Shape wanted = completed(x, shape);
  if (wanted == x.shape()) return x;
  const auto strides = restride(x, wanted);
  if (!strides) return reshape(contiguous(x), wanted);
  Tensor out = x.strided(wanted, *strides, x.offset());
  if (autograd::needs_grad({x})) {
    autograd::record("reshape", {x}, {out}, [before = x.shape()](const std::vector<Tensor>& grads) {
      return std::vector<Tensor>{detail::shaped(grads[0], before)};
    });
  }
  return out;
}

Tensor transpose(const Tensor& x, int a, int b) {
  const int first = dimension("transpose", x, a), second = dimension("transpose", x, b);
  if (first == second) return x;
  Shape shape = x.shape();
  Strides strides = x.strides();
  std::swap(shape[first], shape[second]);
  std::swap(strides[first], strides[second]);
  Tensor out = x.strided(shape, strides, x.offset());
  if (autograd::needs_grad({x})) {
    autograd::record("transpose", {x}, {out}, [first, second](const std::vector<Tensor>& grads) {
      return std::vector<Tensor>{detail::plain(transpose(grads[0], first, second))};
    });
  }
  return out;
}

namespace {
Tensor part_of(const Tensor& x, int dim, std::int64_t begin, std::int64_t end) {
  Shape shape = x.shape();
  shape[dim] = end - begin;
  // An empty part at the very end would start outside the storage.
  return x.strided(shape, x.strides(), shape.numel() ? x.offset() + begin * x.stride(dim) : x.offset());
}
}  // namespace

Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end) {
  const int at = dimension("slice", x, dim);
  if (begin < 0 || begin > end || end > x.size(at)) {
    fail(ErrorCode::shape, "slice",
         fmt::format("elements [{}, {}) of dimension {} of {}; want 0 <= begin <= end <= {}", begin, end, at,
                     x.describe(), x.size(at)));
  }
  if (begin == 0 && end == x.size(at)) return x;
  Tensor out = part_of(x, at, begin, end);
  if (autograd::needs_grad({x})) {
    autograd::record("slice", {x}, {out}, [=, before = x.shape()](const std::vector<Tensor>& grads) {
      Tensor whole = zeros_like(grads[0], before);
      copy_elements(grads[0], part_of(whole, at, begin, end));
      return std::vector<Tensor>{whole};
    });
  }
  return out;
}

std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& sizes, int dim) {
  const int at = dimension("split", x, dim);
  std::int64_t total = 0;
  bool negative = false;
  for (const std::int64_t size : sizes) {
    negative = negative || size < 0;
    total += size;
  }
  if (negative || total != x.size(at)) {
    fail(ErrorCode::shape, "split",
         fmt::format("sizes are [{}], together {}; dimension {} of {} has {}", fmt::join(sizes, ", "), total,
                     at, x.describe(), x.size(at)));
  }
  std::vector<Tensor> parts;
  std::int64_t begin = 0;
  for (const std::int64_t size : sizes) {
    parts.push_back(part_of(x, at, begin, begin + size));
    begin += size;
  }
  if (autograd::needs_grad({x})) {
    const Tensor like = Tensor::empty({0}, x.dtype(), x.device());
    autograd::record("split", {x}, parts, [=, before = x.shape()](const std::vector<Tensor>& grads) {
      const bool all =
          std::all_of(grads.begin(), grads.end(), [](const Tensor& grad) { return grad.defined(); });
      Tensor whole = all ? Tensor::empty(before, like.dtype(), like.device()) : zeros_like(like, before);
      std::int64_t start = 0;
      for (std::size_t i = 0; i < grads.size(); ++i) {
        if (grads[i].defined()) copy_elements(grads[i], part_of(whole, at, start, start + sizes[i]));
        start += sizes[i];
      }
      return std::vector<Tensor>{whole};
    });
  }
  return parts;
}

Tensor concat(const std::vector<Tensor>& parts, int dim) {
  if (parts.empty()) fail(ErrorCode::value, "concat", "no parts; want at least one");
  const int at = dimension("concat", parts[0], dim);
  Shape shape = parts[0].shape();
  shape[at] = 0;
  Device device = Device::cpu;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Shape others = parts[i].shape();
    bool fits = parts[i].rank() == shape.rank() && parts[i].dtype() == parts[0].dtype();
    for (int d = 0; fits && d < shape.rank(); ++d) fits = d == at || others[d] == shape[d];
    if (!fits) {
      fail(ErrorCode::shape, "concat",
           fmt::format("part {} is {}, part 0 is {}; want one dtype, and equal sizes but in "
                       "dimension {}",
                       i, parts[i].describe(), parts[0].describe(), at));
    }
    shape[at] += others[at];
    if (parts[i].device() == Device::meta) device = Device::meta;
  }
  Tensor out = Tensor::empty(shape, parts[0].dtype(), device);
  std::vector<std::int64_t> sizes;
  std::int64_t begin = 0;
  for (const Tensor& part : parts) {
    sizes.push_back(part.size(at));
    copy_elements(part, part_of(out, at, begin, begin + sizes.back()));
    begin += sizes.back();
  }
  if (autograd::needs_grad(parts)) {
    std::vector<bool> wanted;
    for (const Tensor& part : parts) wanted.push_back(autograd::wants_grad(part));
    autograd::record("concat", parts, {out}, [=](const std::vector<Tensor>& grads) {
      std::vector<Tensor> back(sizes.size());
      std::int64_t start = 0;
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        if (wanted[i]) back[i] = detail::plain(part_of(grads[0], at, start, start + sizes[i]));
        start += sizes[i];
      }
      return back;
    });
  }
  return out;
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const Tensor source = detail::plain(x);
  Tensor out = Tensor::empty(x.shape(), dtype, x.device());
  if (x.device() != Device::meta)
    kernels::convert(source.dtype(), source.raw(), dtype, out.raw(), out.numel());
  if (is_floating(dtype) && autograd::needs_grad({x})) {
    autograd::record("cast", {x}, {out}, [before = x.dtype()](const std::vector<Tensor>& grads) {
      return std::vector<Tensor>{cast(grads[0], before)};
    });
  }
  return out;
}

void copy_into(const Tensor& target, const Tensor& source) {
  if (!(target.shape() == source.shape())) {
    fail(ErrorCode::shape, "copy_into",
         fmt::format("source is {}, target is {}; want equal shapes", source.describe(), target.describe()));
  }
  if (source.device() == Device::meta && target.device() != Device::meta) {
    fail(ErrorCode::unsupported, "copy_into",
         fmt::format("source {} is on meta and has no elements", source.describe()));
  }
  const NoGrad no_grad;
  copy_elements(cast(source, target.dtype()), target);
  target.bump_version();
}

}  // namespace headway::inline v1
