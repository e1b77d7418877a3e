#include <headway/ops/merge_attention.h>

#include <headway/autograd/tape.h>
#include <headway/core/cost.h>
#include <headway/kernels/merge_attention.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {

constexpr const char* kOperation = "merge_attention";

// [B, H, T] for outputs [B, T, H, Dv]; [H, N] for [N, H, Dv].
Shape lse_shape(const Tensor& output) {
  if (output.rank() == 3) return {output.size(1), output.size(0)};
  return {output.size(0), output.size(2), output.size(1)};
}

void check(const std::vector<AttentionResult>& parts) {
  if (parts.empty()) fail(ErrorCode::value, kOperation, "parts are none; want at least one");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor &output = parts[i].output, &lse = parts[i].log_sum_exp;
    const Tensor& first = parts[0].output;
    if (!output.defined() || output.rank() < 3 || output.rank() > 4) {
      fail(ErrorCode::shape, kOperation,
           fmt::format("the output of part {} is {}; want [B, T, H, Dv], or packed [N, H, Dv]", i,
                       output.describe()));
    }
    detail::require_floating(kOperation, output);
    if (!(output.shape() == first.shape()) || output.dtype() != first.dtype()) {
      fail(ErrorCode::shape, kOperation,
           fmt::format("the output of part {} is {}, of part 0 {}; want equal", i, output.describe(),
                       first.describe()));
    }
    const DType wanted = detail::compute_dtype(output.dtype());
    if (!lse.defined() || !(lse.shape() == lse_shape(output)) || lse.dtype() != wanted) {
      fail(ErrorCode::shape, kOperation,
           fmt::format("the log_sum_exp of part {} is {}; want {} {} for its output {}{}", i, lse.describe(),
                       name_of(wanted), lse_shape(output).str(), output.describe(),
                       lse.defined() ? "" : " (attention() gives it with .log_sum_exp = true)"));
    }
  }
}

template <typename T>
kernels::MergeForward<T> sizes_of(const Tensor& output) {
  kernels::MergeForward<T> args;
  args.batch = output.rank() == 3 ? 1 : output.size(0);
  args.queries = output.size(-3);
  args.heads = output.size(-2);
  args.value_dim = output.size(-1);
  return args;
}

// Outputs and log-sum-exps in turn, contiguous, as the kernels' parts.
template <typename T>
std::vector<kernels::AttentionPart<T>> parts_of(const std::vector<Tensor>& tensors) {
  std::vector<kernels::AttentionPart<T>> parts;
  for (std::size_t i = 0; i + 1 < tensors.size(); i += 2)
    parts.push_back({tensors[i].data<T>(), tensors[i + 1].data<kernels::compute_t<T>>()});
  return parts;
}

// `wanted` tells of which of the inputs.
std::vector<Tensor> backward(const std::vector<autograd::Saved>& saved, const std::vector<bool>& wanted,
                             const std::vector<Tensor>& grads) {
  std::vector<Tensor> inputs, out;
  for (std::size_t i = 0; i < saved.size(); ++i) {
    const Tensor& x = saved[i].get(kOperation);
    inputs.push_back(x);
    out.push_back(wanted[i] ? Tensor::empty(x.shape(), x.dtype(), x.device()) : Tensor());
  }
  if (detail::is_meta({grads[0], grads[1]})) return out;
  detail::with_floating(kOperation, inputs[0], [&]<typename T>() {
    using C = kernels::compute_t<T>;
    const auto parts = parts_of<T>(inputs);
    std::vector<kernels::AttentionPartGrad<T>> part_grads;
    for (std::size_t i = 0; i + 1 < out.size(); i += 2) {
      part_grads.push_back({out[i].defined() ? out[i].template data<T>() : nullptr,
                            out[i + 1].defined() ? out[i + 1].template data<C>() : nullptr});
    }
    auto forward = sizes_of<T>(inputs[0]);
    forward.parts = parts;
    kernels::merge_attention_backward<T>({.forward = forward,
                                          .d_o = grads[0].defined() ? grads[0].template data<T>() : nullptr,
                                          .d_lse = grads[1].defined() ? grads[1].template data<C>() : nullptr,
                                          .grads = part_grads});
  });
  return out;
}

}  // namespace

AttentionResult merge_attention(const std::vector<AttentionResult>& parts) {
  check(parts);
  const Tensor& first = parts[0].output;
  std::vector<Tensor> recorded, inputs;
  Device device = Device::cpu;
  for (const AttentionResult& part : parts) {
    for (const Tensor& x : {part.output, part.log_sum_exp}) {
      recorded.push_back(x);
      inputs.push_back(detail::plain(x));
      if (x.device() == Device::meta) device = Device::meta;
    }
  }
  const auto elements = static_cast<double>(first.numel()), count = static_cast<double>(parts.size());
  report_cost(kOperation, 2 * count * elements,
              (count + 1) * elements * static_cast<double>(size_of(first.dtype())));
  AttentionResult result;
  result.output = Tensor::empty(first.shape(), first.dtype(), device);
  result.log_sum_exp = Tensor::empty(lse_shape(first), detail::compute_dtype(first.dtype()), device);
  if (device != Device::meta) {
    detail::with_floating(kOperation, first, [&]<typename T>() {
      const auto views = parts_of<T>(inputs);
      auto args = sizes_of<T>(first);
      args.parts = views;
      args.o = result.output.data<T>();
      args.lse = result.log_sum_exp.data<kernels::compute_t<T>>();
      kernels::merge_attention<T>(args);
    });
  }
  if (!autograd::needs_grad(recorded)) return result;
  std::vector<bool> wanted;
  for (const Tensor& x : recorded) wanted.push_back(autograd::wants_grad(x));
  const std::vector<autograd::Saved> saved(inputs.begin(), inputs.end());
  autograd::record(
      kOperation, recorded, {result.output, result.log_sum_exp},
      [saved, wanted](const std::vector<Tensor>& grads) { return backward(saved, wanted, grads); });
  return result;
}

}  // namespace headway::inline v1
