#include <headway/ops/segments.h>

#include <algorithm>

#include <headway/autograd/tape.h>
#include <headway/core/cost.h>
#include <headway/kernels/segments.h>
#include <headway/ops/views.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {
constexpr const char* kOperation = "segment_mean";

void check(const Tensor& x, const std::vector<std::int64_t>& offsets) {
  detail::require_floating(kOperation, x);
  if (x.rank() != 2) fail(ErrorCode::shape, kOperation, fmt::format("x is {}; want [N, C]", x.describe()));
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != x.size(0) ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("offsets are [{}]; want them rising from 0 to {}", fmt::join(offsets, ", "), x.size(0)));
  }
  const auto empty = std::adjacent_find(offsets.begin(), offsets.end());
  if (empty != offsets.end()) {
    fail(ErrorCode::value, kOperation,
         fmt::format("sequence {} has no rows; want at least one", empty - offsets.begin()));
  }
}
}  // namespace

Tensor segment_mean(const Tensor& source, const std::vector<std::int64_t>& offsets) {
  check(source, offsets);
  const Tensor x = contiguous(source.detach());
  const std::int64_t width = x.size(1);
  const Tensor y =
      Tensor::empty({static_cast<std::int64_t>(offsets.size()) - 1, width}, x.dtype(), x.device());
  report_cost(kOperation, static_cast<double>(x.numel()),
              static_cast<double>(x.numel() + y.numel()) * static_cast<double>(size_of(x.dtype())));
  if (x.device() != Device::meta && x.numel() > 0) {
    detail::with_floating(kOperation, x, [&]<typename T>() {
      kernels::segment_mean(x.data<T>(), offsets, width, y.data<T>());
    });
  }
  if (!autograd::needs_grad({source})) return y;
  autograd::record(kOperation, {source}, {y},
                   [offsets, shape = x.shape()](const std::vector<Tensor>& grads) -> std::vector<Tensor> {
                     if (!grads[0].defined()) return {};
                     const Tensor dy = contiguous(grads[0]);
                     const Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
                     if (dy.device() != Device::meta && dx.numel() > 0) {
                       detail::with_floating(kOperation, dy, [&]<typename T>() {
                         kernels::segment_mean_backward(dy.data<T>(), offsets, shape[1], dx.data<T>());
                       });
                     }
                     return {dx};
                   });
  return y;
}

}  // namespace headway::inline v1
